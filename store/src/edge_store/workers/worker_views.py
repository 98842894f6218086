"""Statements on workers for people and programs that look at the fleet."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable, Select, func, select, union

from edge_store.identity.scopes import WHOLE, Scope, of_workers
from edge_store.schema.tables import credential, job, worker, worker_desired


def _view() -> Select[Any]:
    used = (
        select(func.coalesce(func.sum(job.c.slots), 0))
        .where(job.c.worker_name == worker.c.name, job.c.state.in_(("leased", "running")))
        .scalar_subquery()
    )
    scope = select(credential.c.queues).where(credential.c.id == worker.c.credential_id).scalar_subquery()
    return select(
        *(column for column in worker.c if column.name != "revision"),
        *(column for column in worker_desired.c if column.name not in ("worker_name", "concurrency", "revision")),
        worker_desired.c.concurrency.label("concurrency_override"),
        func.greatest(worker.c.revision, worker_desired.c.revision).label("revision"),
        used.label("slots_used"),
        scope.label("granted_queues"),
        func.now().label("now"),
    ).join(worker_desired, worker_desired.c.worker_name == worker.c.name)


def views(
    after: str,
    limit: int,
    team: str | None = None,
    names: Sequence[str] | None = None,
    scope: Scope = WHOLE,
) -> Executable:
    """Return workers whose name comes after `after`, by name, at most `limit`.

    Rows: all columns of `edge.worker` and `edge.worker_desired` (its concurrency as `concurrency_override`),
    `slots_used` by unfinished leases, `granted_queues` (what the session's credential grants; NULL: any), `now`.
    """
    wanted = _view().where(worker.c.name.collate("C") > after).order_by(worker.c.name.collate("C")).limit(limit)
    wanted = wanted.where(of_workers(scope))
    if team is not None:
        wanted = wanted.where(worker.c.team == team)
    return wanted if names is None else wanted.where(worker.c.name.in_(list(names)))


def view(name: str, scope: Scope = WHOLE) -> Executable:
    """Return one worker, with columns as of `views`, or nothing: there is none in the scope."""
    return _view().where(worker.c.name == name, of_workers(scope))


def within(names: Sequence[str], scope: Scope) -> Executable:
    """Return which of these workers are in the scope: (name)."""
    return select(worker.c.name).where(worker.c.name.in_(list(names)), of_workers(scope))


def changed_since(revision: int) -> Executable:
    """Return the workers that changed in the transaction `revision` or later, with columns as of `views`."""
    changed = union(
        select(worker.c.name).where(worker.c.revision >= revision),
        select(worker_desired.c.worker_name).where(worker_desired.c.revision >= revision),
    )
    return _view().where(worker.c.name.in_(changed)).order_by(worker.c.name)
