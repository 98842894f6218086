"""Statements on `edge.job` for people: never the workload, which holds the task's token."""

from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import func, select

from edge_store.database.statement import Statement
from edge_store.identity.scopes import WHOLE, Scope, of_jobs
from edge_store.schema.tables import job


class JobRow(NamedTuple):
    """A job as people see it."""

    id: UUID
    kind: Literal["task", "callback"]
    state: str
    queue: str
    team: str | None
    priority: int
    slots: int
    log_path: str | None
    dag_id: str | None
    task_id: str | None
    run_id: str | None
    map_index: int | None
    try_number: int | None
    worker_name: str | None
    lease_id: UUID | None
    queued_at: datetime
    leased_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    error: str | None
    now: datetime
    """Of the database."""


_JOBS = select(*(job.c[name] for name in JobRow._fields if name != "now"), func.now().label("now"))


def jobs(
    limit: int,
    before: UUID | None = None,
    state: str | None = None,
    queue: str | None = None,
    worker: str | None = None,
    dag_id: str | None = None,
    scope: Scope = WHOLE,
) -> Statement[JobRow]:
    """Return jobs by id, largest first, below the id `before`; ids grow with time."""
    chosen = _JOBS.where(of_jobs(scope)).order_by(job.c.id.desc()).limit(limit)
    if before is not None:
        chosen = chosen.where(job.c.id < before)
    for column, value in (
        (job.c.state, state),
        (job.c.queue, queue),
        (job.c.worker_name, worker),
        (job.c.dag_id, dag_id),
    ):
        if value is not None:
            chosen = chosen.where(column == value)
    return Statement("jobs", chosen, JobRow)


def one_job(job_id: UUID, scope: Scope = WHOLE) -> Statement[JobRow]:
    """Return one job, or nothing where there is none in the scope."""
    return Statement("job", _JOBS.where(job.c.id == job_id, of_jobs(scope)), JobRow)


class QueueDepth(NamedTuple):
    """The backlog of a queue."""

    queue: str
    depth: int
    """Jobs that wait."""
    oldest_s: Decimal
    """Seconds that the oldest of them has waited."""


def queue_depths(scope: Scope = WHOLE) -> Statement[QueueDepth]:
    """Return the backlog of each queue in which jobs of the scope wait."""
    executable = (
        select(
            job.c.queue,
            func.count().label("depth"),
            func.extract("epoch", func.now() - func.min(job.c.queued_at)).label("oldest_s"),
        )
        .where(job.c.state == "queued", of_jobs(scope))
        .group_by(job.c.queue)
    )
    return Statement("queue_depths", executable, QueueDepth)
