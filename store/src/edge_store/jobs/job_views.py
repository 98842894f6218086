"""Statements on `edge.job` for people: never the workload, which holds the task's token."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, func, or_, select
from sqlalchemy.types import Interval

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
    outage_tolerance_s: int
    now: datetime
    """Of the database."""


_JOBS = select(*(job.c[name] for name in JobRow._fields if name != "now"), func.now().label("now"))


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Selects jobs: all given conditions must hold."""

    states: Sequence[str] | None = None
    """Any of these."""
    queue: str | None = None
    worker_name: str | None = None
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    try_number: int | None = None


def jobs(
    limit: int, before: UUID | None = None, conditions: JobFilter = JobFilter(), scope: Scope = WHOLE
) -> Statement[JobRow]:
    """Return jobs by id, largest first, below the id `before`; ids grow with time."""
    chosen = _JOBS.where(of_jobs(scope)).order_by(job.c.id.desc()).limit(limit)
    if before is not None:
        chosen = chosen.where(job.c.id < before)
    if conditions.states is not None:
        chosen = chosen.where(job.c.state.in_(list(conditions.states)))
    for name in ("queue", "worker_name", "dag_id", "run_id", "task_id", "map_index", "try_number"):
        value = getattr(conditions, name)
        if value is not None:
            chosen = chosen.where(job.c[name] == value)
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


class QueueTraffic(NamedTuple):
    """What came into a queue lately, and what finished."""

    queue: str
    arrived: int
    finished: int
    """Without jobs that Airflow took back."""


def queue_traffic(window: timedelta, scope: Scope = WHOLE) -> Statement[QueueTraffic]:
    """Return the traffic of each queue in the last `window`.

    No index on the time of arrival is needed, which each job would pay for several times: a job that came lately is
    waiting, held, or finished lately.
    """
    since = func.now() - bindparam("window", window, type_=Interval)
    late = job.c.finished_at > since
    executable = (
        select(
            job.c.queue,
            func.count().filter(job.c.queued_at > since).label("arrived"),
            func.count().filter(late, job.c.state != "removed").label("finished"),
        )
        .where(or_(job.c.state == "queued", job.c.state.in_(("leased", "running")), late), of_jobs(scope))
        .group_by(job.c.queue)
    )
    return Statement("queue_traffic", executable, QueueTraffic)


class HeldJobs(NamedTuple):
    """Jobs that workers hold."""

    jobs: int
    now: datetime
    """Of the database."""


def held_jobs(scope: Scope = WHOLE) -> Statement[HeldJobs]:
    """Return the number of jobs of the scope that workers hold."""
    counted = select(func.count().label("jobs"), func.now().label("now"))
    executable = counted.where(job.c.state.in_(("leased", "running")), of_jobs(scope))
    return Statement("held_jobs", executable, HeldJobs)
