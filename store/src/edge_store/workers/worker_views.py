"""Statements on workers for everyone who looks at the fleet: people, the change stream, metrics."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, func, select, union

from edge_store.database.statement import Statement
from edge_store.identity.scopes import WHOLE, Scope, of_workers
from edge_store.schema.tables import credential, job, worker, worker_desired


class WorkerRow(NamedTuple):
    """A worker as people see it: observed and desired state."""

    name: str
    identity: UUID
    team: str | None
    queues: list[str]
    concurrency: int
    session_id: UUID | None
    instance: UUID | None
    credential_id: UUID | None
    protocol: int
    any_queue: bool
    silent_after_s: int | None
    outage_tolerance_s: int
    cordon_reason: str | None
    initialised: bool
    jobs_active: int
    free_slots: int
    maintenance_acknowledged: bool
    terminating: bool
    offline: bool
    lost: bool
    versions: dict[str, Any]
    sysinfo: dict[str, Any]
    first_online: datetime
    last_heartbeat: datetime
    version: int
    """Of the desired state."""
    maintenance: bool
    maintenance_comment: str | None
    maintenance_by: str | None
    maintenance_at: datetime | None
    shutdown: bool
    queues_added: list[str]
    queues_removed: list[str]
    concurrency_override: int | None
    revision: int
    """The transaction that last changed either row."""
    slots_used: int
    """By unfinished leases."""
    granted_queues: list[str] | None
    """Granted by the credential of the session; None: any."""
    credential_expires_at: datetime | None
    """Of that credential, or of its successor if it has one."""
    jobs_kept_until: datetime | None
    """When the last of its jobs is given up, unless it comes back; None: no job is kept for it."""
    now: datetime
    """Of the database."""


_successor = credential.alias("successor")


def _select() -> Select[Any]:
    used = (
        select(func.coalesce(func.sum(job.c.slots), 0))
        .where(job.c.worker_name == worker.c.name, job.c.state.in_(("leased", "running")))
        .scalar_subquery()
    )
    last_sign = func.greatest(worker.c.last_heartbeat, job.c.started_at)
    kept_until = (
        select(func.max(last_sign + func.make_interval(0, 0, 0, 0, 0, 0, job.c.outage_tolerance_s)))
        .where(worker.c.lost, ~worker.c.offline)
        .where(job.c.worker_name == worker.c.name, job.c.state == "running", job.c.outage_tolerance_s > 0)
        .scalar_subquery()
    )
    return select(
        *(column for column in worker.c if column.name not in ("kill_grace_s", "revision")),
        *(column for column in worker_desired.c if column.name not in ("worker_name", "concurrency", "revision")),
        worker_desired.c.concurrency.label("concurrency_override"),
        func.greatest(worker.c.revision, worker_desired.c.revision).label("revision"),
        used.label("slots_used"),
        credential.c.queues.label("granted_queues"),
        func.coalesce(_successor.c.expires_at, credential.c.expires_at).label("credential_expires_at"),
        kept_until.label("jobs_kept_until"),
        func.now().label("now"),
    ).select_from(
        worker.join(worker_desired, worker_desired.c.worker_name == worker.c.name)
        .outerjoin(credential, credential.c.id == worker.c.credential_id)
        .outerjoin(_successor, _successor.c.id == credential.c.rotated_to)
    )


_WORKERS = _select()


def workers(
    after: str,
    limit: int,
    team: str | None = None,
    names: Sequence[str] | None = None,
    scope: Scope = WHOLE,
) -> Statement[WorkerRow]:
    """Return workers whose name comes after `after`, by name, at most `limit`."""
    chosen = _WORKERS.where(worker.c.name.collate("C") > after).order_by(worker.c.name.collate("C")).limit(limit)
    chosen = chosen.where(of_workers(scope))
    if team is not None:
        chosen = chosen.where(worker.c.team == team)
    if names is not None:
        chosen = chosen.where(worker.c.name.in_(list(names)))
    return Statement("workers", chosen, WorkerRow)


def one_worker(name: str, scope: Scope = WHOLE) -> Statement[WorkerRow]:
    """Return one worker, or nothing where there is none in the scope."""
    return Statement("worker", _WORKERS.where(worker.c.name == name, of_workers(scope)), WorkerRow)


def changed_since(revision: int) -> Statement[WorkerRow]:
    """Return the workers that changed in the transaction `revision` or later."""
    changed = union(
        select(worker.c.name).where(worker.c.revision >= revision),
        select(worker_desired.c.worker_name).where(worker_desired.c.revision >= revision),
    )
    chosen = _WORKERS.where(worker.c.name.in_(changed)).order_by(worker.c.name)
    return Statement("changed_workers", chosen, WorkerRow)


class FleetGroup(NamedTuple):
    """Workers that are alike in everything that decides their state and what they may be given."""

    workers: int
    slots: int
    slots_used: int
    """By unfinished leases."""
    silent: bool
    initialised: bool
    busy: bool
    maintenance_acknowledged: bool
    terminating: bool
    offline: bool
    maintenance: bool
    shutdown: bool
    cordon_reason: str | None
    any_queue: bool
    queues: list[str]
    queues_added: list[str]
    queues_removed: list[str]
    granted_queues: list[str] | None
    now: datetime
    """Of the database."""


_ALIKE = (
    "silent",
    "initialised",
    "busy",
    "maintenance_acknowledged",
    "terminating",
    "offline",
    "maintenance",
    "shutdown",
    "cordon_reason",
    "any_queue",
    "queues",
    "queues_added",
    "queues_removed",
    "granted_queues",
)


def fleet_groups(window: timedelta, scope: Scope = WHOLE) -> Statement[FleetGroup]:
    """Return the fleet as groups of equal workers: a few rows, however many workers there are.

    A worker that was not heard for `window` (a v1 worker: for a time of its own) is silent.
    """
    used = (
        select(job.c.worker_name, func.sum(job.c.slots).label("slots"))
        .where(job.c.state.in_(("leased", "running")))
        .group_by(job.c.worker_name)
        .subquery("used")
    )
    silence = func.coalesce(func.make_interval(0, 0, 0, 0, 0, 0, worker.c.silent_after_s), window)
    derived = {
        "silent": worker.c.last_heartbeat <= func.now() - silence,
        "busy": worker.c.jobs_active > 0,
        "granted_queues": credential.c.queues,
    }
    alike = [
        derived[name] if name in derived else worker.c[name] if name in worker.c else worker_desired.c[name]
        for name in _ALIKE
    ]
    executable = (
        select(
            func.count().label("workers"),
            func.sum(func.coalesce(worker_desired.c.concurrency, worker.c.concurrency)).label("slots"),
            func.coalesce(func.sum(used.c.slots), 0).label("slots_used"),
            *(column.label(name) for name, column in zip(_ALIKE, alike, strict=True)),
            func.now().label("now"),
        )
        .select_from(
            worker.join(worker_desired, worker_desired.c.worker_name == worker.c.name)
            .outerjoin(credential, credential.c.id == worker.c.credential_id)
            .outerjoin(used, used.c.worker_name == worker.c.name)
        )
        .where(of_workers(scope))
        .group_by(*alike)
    )
    return Statement("fleet_groups", executable, FleetGroup)


class WorkerName(NamedTuple):
    """The name of a worker."""

    name: str


def within(names: Sequence[str], scope: Scope) -> Statement[WorkerName]:
    """Return which of these workers are in the scope."""
    executable = select(worker.c.name).where(worker.c.name.in_(list(names)), of_workers(scope))
    return Statement("workers_within", executable, WorkerName)


class FleetRow(NamedTuple):
    """The state and room of a worker, for metrics."""

    name: str
    queues: list[str]
    any_queue: bool
    silent_after_s: int | None
    concurrency: int
    free_slots: int
    jobs_active: int
    initialised: bool
    maintenance_acknowledged: bool
    terminating: bool
    offline: bool
    last_heartbeat: datetime
    maintenance: bool
    shutdown: bool


def fleet() -> Statement[FleetRow]:
    """Return every worker in the few columns that metrics need."""
    columns = (worker.c[field] if field in worker.c else worker_desired.c[field] for field in FleetRow._fields)
    executable = select(*columns).join(worker_desired, worker_desired.c.worker_name == worker.c.name)
    return Statement("fleet", executable, FleetRow)
