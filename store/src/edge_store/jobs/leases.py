"""Statements on jobs that workers hold: accept, report, requeue, lose.

Every write names the lease and the states that it may leave, and returns the rows that it changed, so that a caller
sees at once which of its leases are void.

No statement of the edge API waits for a job that another transaction has locked (ADR 0029): it leaves the job out, and
returns a row that says so. The schedulers queue jobs again one by one in long transactions. A statement that holds one
job and waits for another would make deadlocks with them, in which PostgreSQL may end the scheduler's transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, select, text

from edge_store.database.arrays import TEXTS, texts
from edge_store.database.statement import Statement
from edge_store.schema.tables import job


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease as a worker names it; the worker comes from its credential, never from the frame."""

    lease_id: UUID
    worker: str


def _unlocked(*states: str) -> str:
    """Return two CTEs: `mine`, the jobs of the leases in `named`, and `free`, those that nobody else has locked.

    A job of `mine` that is not changed in the end is locked, or has just moved on: the next try sees which.
    """
    within = ", ".join(f"'{state}'" for state in states)
    return f"""mine AS (
        SELECT j.id, j.lease_id, j.worker_name FROM edge.job j
            JOIN named n ON j.lease_id = n.lease_id AND j.worker_name = n.worker
        WHERE j.state IN ({within})
    ), free AS (
        SELECT j.id FROM edge.job j JOIN mine m ON m.id = j.id AND m.lease_id = j.lease_id
        WHERE j.state IN ({within}) FOR UPDATE OF j SKIP LOCKED
    )"""  # noqa: S608  (constant texts)


class AcceptedLease(NamedTuple):
    """A lease whose job is running now, or locked."""

    lease_id: UUID
    worker_name: str
    waited_s: Decimal
    """Seconds since the job was queued."""
    locked: bool
    """Another transaction has the job; nothing has changed."""


_ACCEPT = text(
    f"""
    WITH named AS (
        SELECT * FROM unnest(CAST(:leases AS uuid[]), :workers) AS n(lease_id, worker)
    ), {_unlocked("leased", "running")}, done AS (
        UPDATE edge.job j
        SET state = 'running', started_at = coalesce(j.started_at, now()), lease_expires_at = NULL,
            event_pending = j.event_pending OR j.kind = 'callback'
        FROM free WHERE j.id = free.id
        RETURNING j.id, j.lease_id, j.worker_name, extract(epoch FROM now() - j.queued_at) AS waited_s
    )
    SELECT lease_id, worker_name, waited_s, false AS locked FROM done
    UNION ALL
    SELECT lease_id, worker_name, 0, true FROM mine WHERE id NOT IN (SELECT id FROM done)
    """  # noqa: S608  (constant texts)
).bindparams(bindparam("workers", type_=TEXTS))


def accept(leases: Sequence[HeldLease]) -> Statement[AcceptedLease]:
    """Move leased jobs to running; a repeat succeeds too, and a void lease returns no row.

    A callback becomes an event for its scheduler, which shows callbacks as running; tasks report their start to the
    Execution API themselves.
    """
    executable = _ACCEPT.bindparams(
        leases=texts(held.lease_id for held in leases), workers=[held.worker for held in leases]
    )
    return Statement("accept", executable, AcceptedLease)


@dataclass(frozen=True, slots=True)
class JobReport:
    """How a lease's process ended."""

    lease_id: UUID
    worker: str
    outcome: Literal["succeeded", "failed"]
    exit_code: int | None
    error: str | None


class ReportedLease(NamedTuple):
    """A lease whose job has finished, or is locked."""

    lease_id: UUID
    worker_name: str
    result: Literal["finished", "repeated", "locked"]


_REPORT = text(
    f"""
    WITH named AS (
        SELECT * FROM unnest(CAST(:leases AS uuid[]), :workers, :outcomes, CAST(:exit_codes AS int[]), :errors)
            AS n(lease_id, worker, outcome, exit_code, error)
    ), {_unlocked("leased", "running")}, done AS (
        UPDATE edge.job j
        SET state = n.outcome, finished_at = now(), lease_expires_at = NULL, workload = NULL,
            execution_token = NULL, exit_code = n.exit_code, error = n.error, event_pending = true
        FROM free, named n
        WHERE j.id = free.id AND j.lease_id = n.lease_id AND j.worker_name = n.worker
        RETURNING j.id, j.lease_id, j.worker_name
    )
    SELECT lease_id, worker_name, 'finished' AS result FROM done
    UNION ALL
    SELECT lease_id, worker_name, 'locked' FROM mine WHERE id NOT IN (SELECT id FROM done)
    UNION ALL
    SELECT j.lease_id, j.worker_name, 'repeated'
    FROM edge.job j JOIN named n ON j.lease_id = n.lease_id AND j.worker_name = n.worker
    WHERE j.state IN ('succeeded', 'failed')
    """  # noqa: S608  (constant texts)
).bindparams(bindparam("workers", type_=TEXTS), bindparam("outcomes", type_=TEXTS), bindparam("errors", type_=TEXTS))


def report(reports: Sequence[JobReport]) -> Statement[ReportedLease]:
    """Finish held jobs; void leases return no row.

    A report for a job that is only leased counts too: the accept was sent before it, on the same wire.
    """
    executable = _REPORT.bindparams(
        leases=texts(each.lease_id for each in reports),
        workers=[each.worker for each in reports],
        outcomes=[each.outcome for each in reports],
        exit_codes=texts(each.exit_code for each in reports),
        errors=[each.error for each in reports],
    )
    return Statement("report", executable, ReportedLease)


class RequeuedJob(NamedTuple):
    """A job that is back in its queue."""

    id: UUID
    queue: str
    hints: int
    """Hints sent by the whole statement."""


_REQUEUE_EXPIRED = text(
    """
    WITH expired AS (
        UPDATE edge.job SET state = 'queued', worker_name = NULL, lease_id = NULL, lease_expires_at = NULL,
            leased_at = NULL
        WHERE id IN (
            SELECT id FROM edge.job WHERE state = 'leased' AND lease_expires_at < now()
            ORDER BY lease_expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
        )
        RETURNING id, queue
    ), hinted AS (
        SELECT pg_notify('edge', 'job ' || queue) FROM (SELECT DISTINCT queue FROM expired) q
    )
    SELECT id, queue, (SELECT count(*) FROM hinted) AS hints FROM expired
    """
)


def requeue_expired(limit: int = 1000) -> Statement[RequeuedJob]:
    """Return claims that nobody accepted in time to their queues (I-3 in docs/architecture.md)."""
    return Statement("requeue_expired", _REQUEUE_EXPIRED.bindparams(limit=limit), RequeuedJob)


_RELEASE = text(
    """
    WITH released AS (
        UPDATE edge.job SET state = 'queued', worker_name = NULL, lease_id = NULL, lease_expires_at = NULL,
            leased_at = NULL
        WHERE id IN (
            SELECT id FROM edge.job WHERE lease_id = ANY (CAST(:leases AS uuid[])) AND state = 'leased'
            FOR UPDATE SKIP LOCKED
        )
        RETURNING id, queue
    ), hinted AS (
        SELECT pg_notify('edge', 'job ' || queue) FROM (SELECT DISTINCT queue FROM released) q
    )
    SELECT id, queue, (SELECT count(*) FROM hinted) AS hints FROM released
    """
)


def release(lease_ids: Sequence[UUID]) -> Statement[RequeuedJob]:
    """Return leased jobs to their queues at once: their worker does not have them.

    One that is locked is left to its accept timeout.
    """
    return Statement("release", _RELEASE.bindparams(leases=texts(lease_ids)), RequeuedJob)


@dataclass(frozen=True, slots=True)
class Loss:
    """A running job whose process is gone, as a session of its worker knows."""

    lease_id: UUID
    session_id: UUID
    reason: str


class LostJob(NamedTuple):
    """A job that was declared lost, or is locked."""

    lease_id: UUID
    locked: bool
    """Another transaction has the job; nothing has changed."""


_LOSE = text(
    f"""
    WITH loss AS (
        SELECT * FROM unnest(CAST(:leases AS uuid[]), CAST(:sessions AS uuid[]), :reasons)
            AS l(lease_id, session_id, reason)
    ), current AS (
        -- A newer session of the worker may hold the very task that an older one misses.
        SELECT name, session_id FROM edge.worker WHERE session_id IN (SELECT session_id FROM loss)
        ORDER BY name FOR SHARE
    ), named AS (
        SELECT loss.lease_id, current.name AS worker, loss.reason
        FROM loss JOIN current ON current.session_id = loss.session_id
    ), {_unlocked("running")}, done AS (
        UPDATE edge.job j
        SET state = 'lost', finished_at = now(), workload = NULL, execution_token = NULL,
            error = n.reason, event_pending = true
        FROM free, named n
        WHERE j.id = free.id AND j.lease_id = n.lease_id
        RETURNING j.id, j.lease_id
    )
    SELECT lease_id, false AS locked FROM done
    UNION ALL
    SELECT lease_id, true FROM mine WHERE id NOT IN (SELECT id FROM done)
    """  # noqa: S608  (constant texts)
).bindparams(bindparam("reasons", type_=TEXTS))


def lose(losses: Sequence[Loss]) -> Statement[LostJob]:
    """Declare running jobs lost. A loss by a session that is not its worker's current one changes nothing."""
    executable = _LOSE.bindparams(
        leases=texts(loss.lease_id for loss in losses),
        sessions=texts(loss.session_id for loss in losses),
        reasons=[loss.reason for loss in losses],
    )
    return Statement("lose", executable, LostJob)


class GivenUpJob(NamedTuple):
    """A job that a worker left behind."""

    id: UUID
    state: str
    """`lost`, or `queued` again; that of a locked one is unchanged."""
    locked: bool
    """Another transaction has the job; nothing has changed."""
    hints: int
    """Hints sent by the whole statement."""


_GIVE_UP = text(
    """
    WITH current AS (
        SELECT name FROM edge.worker WHERE name = :worker AND session_id = CAST(:session_id AS uuid) FOR SHARE
    ), mine AS (
        SELECT j.id, j.state FROM edge.job j JOIN current ON j.worker_name = current.name
        WHERE j.state IN ('leased', 'running')
    ), free AS (
        SELECT j.id FROM edge.job j JOIN mine m ON m.id = j.id AND m.state = j.state
        WHERE j.worker_name = :worker FOR UPDATE OF j SKIP LOCKED
    ), lost AS (
        UPDATE edge.job j
        SET state = 'lost', finished_at = now(), workload = NULL, execution_token = NULL,
            error = :reason, event_pending = true
        FROM free WHERE j.id = free.id AND j.state = 'running'
        RETURNING j.id, j.state
    ), released AS (
        UPDATE edge.job j SET state = 'queued', worker_name = NULL, lease_id = NULL, lease_expires_at = NULL,
            leased_at = NULL
        FROM free WHERE j.id = free.id AND j.state = 'leased'
        RETURNING j.id, j.state, j.queue
    ), given_up AS (
        SELECT id, state FROM lost UNION ALL SELECT id, state FROM released
    ), hinted AS (
        SELECT pg_notify('edge', 'job ' || queue) FROM (SELECT DISTINCT queue FROM released) q
    )
    SELECT id, state, false AS locked, (SELECT count(*) FROM hinted) AS hints FROM given_up
    UNION ALL
    SELECT id, state, true, 0 FROM mine WHERE id NOT IN (SELECT id FROM given_up)
    """
)


def give_up(worker: str, session_id: UUID, reason: str) -> Statement[GivenUpJob]:
    """Lose the running jobs of a worker that stops, and return its leased ones to their queues.

    Nothing happens if the session is not the worker's current one.
    """
    executable = _GIVE_UP.bindparams(worker=worker, session_id=str(session_id), reason=reason)
    return Statement("give_up", executable, GivenUpJob)


class HeldJob(NamedTuple):
    """An unfinished job of a worker."""

    id: UUID
    lease_id: UUID
    state: str
    kind: Literal["task", "callback"]
    slots: int
    workload: str
    log_path: str | None
    outage_tolerance_s: int


def held_by(worker: str) -> Statement[HeldJob]:
    """Return the unfinished jobs of a worker."""
    executable = select(*(job.c[name] for name in HeldJob._fields)).where(
        job.c.worker_name == worker, job.c.state.in_(("leased", "running"))
    )
    return Statement("held_by", executable, HeldJob)


class JobOfLease(NamedTuple):
    """The job of a lease."""

    id: UUID
    lease_id: UUID
    worker_name: str
    state: str
    slots: int


def lease_states(lease_ids: Sequence[UUID]) -> Statement[JobOfLease]:
    """Return the states of the jobs of these leases; a void lease has no row."""
    executable = select(*(job.c[name] for name in JobOfLease._fields)).where(job.c.lease_id.in_(list(lease_ids)))
    return Statement("lease_states", executable, JobOfLease)
