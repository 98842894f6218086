"""Statements on jobs that workers hold: accepted, reported, taken back, lost.

Every write names the lease and the states that it may leave, and returns the rows that it changed, so that a caller
sees at once which of its leases are not good any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import Executable, bindparam, func, select, text

from edge_store.database.arrays import TEXTS, texts
from edge_store.schema.tables import job


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease as a worker names it; the worker comes from its credential, never from the frame."""

    lease_id: UUID
    worker: str


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


def accept(leases: Sequence[HeldLease]) -> Executable:
    """Move leased jobs to running and return (lease_id, worker_name, queue, waited_s: seconds since queued).

    A repeat is good. A callback's owner is told, since Airflow shows callbacks as running; for tasks the Execution API
    tells it.
    """
    return _ACCEPT.bindparams(leases=texts(held.lease_id for held in leases), workers=[held.worker for held in leases])


@dataclass(frozen=True, slots=True)
class JobReport:
    """How a lease's process ended."""

    lease_id: UUID
    worker: str
    outcome: Literal["succeeded", "failed"]
    exit_code: int | None
    error: str | None


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


def report(reports: Sequence[JobReport]) -> Executable:
    """Finish held jobs and return (lease_id, worker_name, fresh) of the leases that were good.

    `fresh` is false for a repeat.

    A report for a job that is only leased counts too: the accept was sent before it, on the same wire.
    """
    return _REPORT.bindparams(
        leases=texts(each.lease_id for each in reports),
        workers=[each.worker for each in reports],
        outcomes=[each.outcome for each in reports],
        exit_codes=texts(each.exit_code for each in reports),
        errors=[each.error for each in reports],
    )


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


def requeue_expired(limit: int = 1000) -> Executable:
    """Put claims that nobody accepted in time back in their queues (design: I-3); returns (id, queue, hints)."""
    return _REQUEUE_EXPIRED.bindparams(limit=limit)


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


def release(lease_ids: Sequence[UUID]) -> Executable:
    """Put leased jobs back at once: their worker does not have them. Returns (id, queue, hints)."""
    return _RELEASE.bindparams(leases=texts(lease_ids))


def lose(lease_ids: Sequence[UUID], reason: str) -> Executable:
    """Declare running jobs lost: their process is known to be gone. Returns (id)."""
    return (
        job.update()
        .where(job.c.lease_id.in_(list(lease_ids)), job.c.state == "running")
        .values(state="lost", finished_at=func.now(), workload=None, error=reason, event_pending=True)
        .returning(job.c.id)
    )


def held_by(worker: str) -> Executable:
    """Return the unfinished leases of a worker: (id, lease_id, state, kind, slots, workload, log_path)."""
    return select(job.c.id, job.c.lease_id, job.c.state, job.c.kind, job.c.slots, job.c.workload, job.c.log_path).where(
        job.c.worker_name == worker, job.c.state.in_(("leased", "running"))
    )


def lease_states(lease_ids: Sequence[UUID]) -> Executable:
    """Return where the jobs of these leases are: (lease_id, worker_name, state, slots). A void lease has no row."""
    return select(job.c.lease_id, job.c.worker_name, job.c.state, job.c.slots).where(
        job.c.lease_id.in_(list(lease_ids))
    )
