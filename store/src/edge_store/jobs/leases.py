"""Statements on jobs that workers hold: accept, report, requeue, lose.

Every write names the lease and the states that it may leave, and returns the rows that it changed, so that a caller
sees at once which of its leases are void.
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


class AcceptedLease(NamedTuple):
    """A lease whose job is running now."""

    lease_id: UUID
    worker_name: str
    queue: str
    waited_s: Decimal
    """Seconds since the job was queued."""


_ACCEPT = text(
    """
    UPDATE edge.job j
    SET state = 'running', started_at = coalesce(j.started_at, now()), lease_expires_at = NULL,
        event_pending = j.event_pending OR j.kind = 'callback'
    FROM unnest(CAST(:leases AS uuid[]), :workers) AS a(lease_id, worker)
    WHERE j.lease_id = a.lease_id AND j.worker_name = a.worker AND j.state IN ('leased', 'running')
    RETURNING j.lease_id, j.worker_name, j.queue, extract(epoch FROM now() - j.queued_at) AS waited_s
    """
).bindparams(bindparam("workers", type_=TEXTS))


def accept(leases: Sequence[HeldLease]) -> Statement[AcceptedLease]:
    """Move leased jobs to running; a repeat succeeds too.

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
    """A lease whose job has finished."""

    lease_id: UUID
    worker_name: str
    fresh: bool
    """False for a repeat."""


_REPORT = text(
    """
    WITH r AS (
        SELECT * FROM unnest(CAST(:leases AS uuid[]), :workers, :outcomes, CAST(:exit_codes AS int[]), :errors)
            AS r(lease_id, worker, outcome, exit_code, error)
    ), done AS (
        UPDATE edge.job j
        SET state = r.outcome, finished_at = now(), lease_expires_at = NULL, workload = NULL,
            exit_code = r.exit_code, error = r.error, event_pending = true
        FROM r
        WHERE j.lease_id = r.lease_id AND j.worker_name = r.worker AND j.state IN ('leased', 'running')
        RETURNING j.lease_id, j.worker_name
    )
    SELECT lease_id, worker_name, true AS fresh FROM done
    UNION ALL
    SELECT j.lease_id, j.worker_name, false
    FROM edge.job j JOIN r ON j.lease_id = r.lease_id AND j.worker_name = r.worker
    WHERE j.state IN ('succeeded', 'failed')
    """
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
        WHERE lease_id = ANY (CAST(:leases AS uuid[])) AND state = 'leased'
        RETURNING id, queue
    ), hinted AS (
        SELECT pg_notify('edge', 'job ' || queue) FROM (SELECT DISTINCT queue FROM released) q
    )
    SELECT id, queue, (SELECT count(*) FROM hinted) AS hints FROM released
    """
)


def release(lease_ids: Sequence[UUID]) -> Statement[RequeuedJob]:
    """Return leased jobs to their queues at once: their worker does not have them."""
    return Statement("release", _RELEASE.bindparams(leases=texts(lease_ids)), RequeuedJob)


@dataclass(frozen=True, slots=True)
class Loss:
    """A running job whose process is gone, as a session of its worker knows."""

    lease_id: UUID
    session_id: UUID
    reason: str


class LostJob(NamedTuple):
    """A job that was declared lost."""

    id: UUID


_LOSE = text(
    """
    WITH loss AS (
        SELECT * FROM unnest(CAST(:leases AS uuid[]), CAST(:sessions AS uuid[]), :reasons)
            AS l(lease_id, session_id, reason)
    ), current AS (
        -- A newer session of the worker may hold the very task that an older one misses.
        SELECT name, session_id FROM edge.worker WHERE session_id IN (SELECT session_id FROM loss)
        ORDER BY name FOR SHARE
    )
    UPDATE edge.job j
    SET state = 'lost', finished_at = now(), workload = NULL, error = loss.reason, event_pending = true
    FROM loss JOIN current ON current.session_id = loss.session_id
    WHERE j.lease_id = loss.lease_id AND j.worker_name = current.name AND j.state = 'running'
    RETURNING j.id
    """
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
    """`lost`, or `queued` again."""
    hints: int
    """Hints sent by the whole statement."""


_GIVE_UP = text(
    """
    WITH current AS (
        SELECT name FROM edge.worker WHERE name = :worker AND session_id = CAST(:session_id AS uuid) FOR SHARE
    ), lost AS (
        UPDATE edge.job j
        SET state = 'lost', finished_at = now(), workload = NULL, error = :reason, event_pending = true
        FROM current WHERE j.worker_name = current.name AND j.state = 'running'
        RETURNING j.id, j.state
    ), released AS (
        UPDATE edge.job j SET state = 'queued', worker_name = NULL, lease_id = NULL, lease_expires_at = NULL,
            leased_at = NULL
        FROM current WHERE j.worker_name = current.name AND j.state = 'leased'
        RETURNING j.id, j.state, j.queue
    ), hinted AS (
        SELECT pg_notify('edge', 'job ' || queue) FROM (SELECT DISTINCT queue FROM released) q
    )
    SELECT id, state, (SELECT count(*) FROM hinted) AS hints
    FROM (SELECT id, state FROM lost UNION ALL SELECT id, state FROM released) given_up
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


def held_by(worker: str) -> Statement[HeldJob]:
    """Return the unfinished jobs of a worker."""
    executable = select(*(job.c[name] for name in HeldJob._fields)).where(
        job.c.worker_name == worker, job.c.state.in_(("leased", "running"))
    )
    return Statement("held_by", executable, HeldJob)


class JobOfLease(NamedTuple):
    """The job of a lease."""

    lease_id: UUID
    worker_name: str
    state: str
    slots: int


def lease_states(lease_ids: Sequence[UUID]) -> Statement[JobOfLease]:
    """Return the states of the jobs of these leases; a void lease has no row."""
    executable = select(*(job.c[name] for name in JobOfLease._fields)).where(job.c.lease_id.in_(list(lease_ids)))
    return Statement("lease_states", executable, JobOfLease)
