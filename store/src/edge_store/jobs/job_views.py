"""Statements on `edge.job` for people: never the workload, which holds the task's token."""

from typing import Any
from uuid import UUID

from sqlalchemy import Executable, Select, func, select

from edge_store.identity.scopes import WHOLE, Scope, of_jobs
from edge_store.schema.tables import job

_COLUMNS = tuple(
    column for column in job.c if column.name not in ("workload", "rank", "owner", "event_pending", "lease_expires_at")
)


def _view() -> Select[Any]:
    return select(*_COLUMNS, func.now().label("now"))


def views(
    limit: int,
    before: UUID | None = None,
    state: str | None = None,
    queue: str | None = None,
    worker: str | None = None,
    dag_id: str | None = None,
    scope: Scope = WHOLE,
) -> Executable:
    """Return jobs by id, largest first, below the id `before`; ids grow with time. All columns but the workload."""
    wanted = _view().where(of_jobs(scope)).order_by(job.c.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(job.c.id < before)
    for column, value in (
        (job.c.state, state),
        (job.c.queue, queue),
        (job.c.worker_name, worker),
        (job.c.dag_id, dag_id),
    ):
        if value is not None:
            wanted = wanted.where(column == value)
    return wanted


def view(job_id: UUID, scope: Scope = WHOLE) -> Executable:
    """Return one job, with columns as of `views`, or nothing: there is none in the scope."""
    return _view().where(job.c.id == job_id, of_jobs(scope))


def queue_depths(scope: Scope = WHOLE) -> Executable:
    """Return the backlog of each queue: (queue, depth, oldest_s: seconds that its oldest job has waited).

    Of the scope's queues and team alone.
    """
    return (
        select(
            job.c.queue,
            func.count().label("depth"),
            func.extract("epoch", func.now() - func.min(job.c.queued_at)).label("oldest_s"),
        )
        .where(job.c.state == "queued", of_jobs(scope))
        .group_by(job.c.queue)
    )
