"""Statements on `edge.job`: the life of a job, each step one statement (design: I-1 to I-5).

Every write after the claim names the lease and the states that it may leave, and returns the rows that it changed, so
that a caller sees at once which of its leases are not good any more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Executable, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Interval, Text

from edge_store.scopes import WHOLE, Scope, of_jobs
from edge_store.tables import job

_TEXTS = ARRAY(Text)


def _texts(values: Iterable[str | UUID | int | None]) -> list[str | None]:
    """Return values as an array that every driver sends alike; the statement casts it."""
    return [None if value is None else str(value) for value in values]


@dataclass(frozen=True, slots=True)
class NewJob:
    """What the executor knows of a job when Airflow queues it."""

    id: UUID
    kind: Literal["task", "callback"]
    queue: str
    team: str | None
    rank: int
    """0 for callbacks, which complete work that was begun; 1 for tasks."""
    priority: int
    slots: int
    workload: str
    log_path: str | None
    dag_id: str | None
    task_id: str | None
    run_id: str | None
    map_index: int | None
    try_number: int | None
    owner: str


_ENQUEUE = text(
    """
    WITH queued AS (
        INSERT INTO edge.job AS j (id, kind, state, queue, team, rank, priority, slots, workload, log_path,
                                   dag_id, task_id, run_id, map_index, try_number, owner)
        VALUES (CAST(:id AS uuid), :kind, 'queued', :queue, :team, :rank, :priority, :slots, :workload, :log_path,
                :dag_id, :task_id, :run_id, :map_index, :try_number, :owner)
        ON CONFLICT (id) DO UPDATE SET
            state = 'queued', queue = excluded.queue, team = excluded.team, rank = excluded.rank,
            priority = excluded.priority, slots = excluded.slots, workload = excluded.workload,
            log_path = excluded.log_path, try_number = excluded.try_number, owner = excluded.owner,
            event_pending = false, worker_name = NULL, lease_id = NULL, lease_expires_at = NULL,
            queued_at = now(), leased_at = NULL, started_at = NULL, finished_at = NULL, exit_code = NULL, error = NULL
        RETURNING j.queue
    )
    SELECT pg_notify('edge', 'job ' || queue) FROM queued
    """
).bindparams(bindparam("team", type_=Text), bindparam("log_path", type_=Text))


def enqueue(new: NewJob) -> Executable:
    """Store a job as queued, and hint the dispatchers, with the caller's transaction (design: I-1).

    A job of the same id starts over: Airflow queues a task instance again when it resumes from a deferral or a
    reschedule. Its old lease is void from then on.
    """
    return _ENQUEUE.bindparams(**{**asdict(new), "id": str(new.id)})


@dataclass(frozen=True, slots=True)
class Demand:
    """Free room that some workers have for one queue of one team."""

    queue: str
    team: str | None
    fits: int
    """Most free slots that any of the workers has: a larger job can't start now."""
    holds: int
    """Most slots that any of the workers has in all: a larger job never starts on them."""
    limit: int
    """Rows wanted: the free slots of all of them together."""


_CANDIDATES = text(
    """
    SELECT c.id, c.queue, c.team, c.slots, c.rank, c.priority, c.queued_at
    FROM unnest(:queues, :teams, CAST(:fits AS int[]), CAST(:limits AS int[])) AS d(queue, team, fits, lim)
    CROSS JOIN LATERAL (
        SELECT j.id, j.queue, j.team, j.slots, j.rank, j.priority, j.queued_at FROM edge.job j
        WHERE j.state = 'queued' AND j.queue = d.queue AND j.team IS NOT DISTINCT FROM d.team AND j.slots <= d.fits
        ORDER BY j.rank, j.priority DESC, j.queued_at LIMIT d.lim
        FOR UPDATE SKIP LOCKED
    ) c
    """
).bindparams(bindparam("queues", type_=_TEXTS), bindparam("teams", type_=_TEXTS))


def candidates(demands: Sequence[Demand]) -> Executable:
    """Lock and return queued jobs that could start now: (id, queue, team, slots, rank, priority, queued_at).

    Rows that another replica has locked are passed over. The caller assigns workers and calls `claim` in the same
    transaction.
    """
    return _CANDIDATES.bindparams(
        queues=[demand.queue for demand in demands],
        teams=[demand.team for demand in demands],
        fits=_texts(demand.fits for demand in demands),
        limits=_texts(demand.limit for demand in demands),
    )


_STARVING = text(
    """
    SELECT c.queue, c.team, c.slots, c.rank, c.priority, c.queued_at
    FROM unnest(:queues, :teams, CAST(:fits AS int[]), CAST(:holds AS int[])) AS d(queue, team, fits, holds)
    CROSS JOIN LATERAL (
        SELECT j.queue, j.team, j.slots, j.rank, j.priority, j.queued_at FROM edge.job j
        WHERE j.state = 'queued' AND j.queue = d.queue AND j.team IS NOT DISTINCT FROM d.team
          AND j.slots > d.fits AND j.slots <= d.holds AND j.queued_at <= now() - :patience
        ORDER BY j.rank, j.priority DESC, j.queued_at LIMIT 1
    ) c
    """
).bindparams(bindparam("queues", type_=_TEXTS), bindparam("teams", type_=_TEXTS), bindparam("patience", type_=Interval))


def starving(demands: Sequence[Demand], patience: timedelta) -> Executable:
    """Return, for each demand, the first job that is too large for any free room and has waited for `patience`.

    Rows as of `candidates`, without the id. The dispatcher keeps room free for them, so that small jobs do not
    starve a large one for ever.
    """
    return _STARVING.bindparams(
        queues=[demand.queue for demand in demands],
        teams=[demand.team for demand in demands],
        fits=_texts(demand.fits for demand in demands),
        holds=_texts(demand.holds for demand in demands),
        patience=patience,
    )


@dataclass(frozen=True, slots=True)
class Pick:
    """One job for one session of one worker, under a fresh lease."""

    job_id: UUID
    worker: str
    session_id: UUID
    lease_id: UUID


_CLAIM = text(
    """
    WITH pick AS (
        SELECT * FROM unnest(CAST(:jobs AS uuid[]), :workers, CAST(:sessions AS uuid[]), CAST(:leases AS uuid[]))
            AS p(job_id, worker, session_id, lease_id)
    ), open AS (
        SELECT d.worker_name, d.queues_added, d.queues_removed FROM edge.worker_desired d
        WHERE d.worker_name IN (SELECT worker FROM pick) AND NOT d.maintenance AND NOT d.shutdown
        ORDER BY d.worker_name FOR SHARE
    ), claimed AS (
        UPDATE edge.job j
        SET state = 'leased', worker_name = p.worker, lease_id = p.lease_id, leased_at = now(),
            lease_expires_at = now() + :accept_timeout
        FROM pick p JOIN open o ON o.worker_name = p.worker JOIN edge.worker w ON w.name = p.worker
            LEFT JOIN edge.credential c ON c.id = w.credential_id
        WHERE j.id = p.job_id AND j.state = 'queued'
          AND w.session_id = p.session_id AND w.cordon_reason IS NULL AND NOT w.maintenance_acknowledged
          AND NOT w.terminating AND NOT w.offline
          AND (w.any_queue OR j.queue = ANY (w.queues)) AND NOT j.queue = ANY (o.queues_removed)
          AND j.team IS NOT DISTINCT FROM w.team
          AND (w.credential_id IS NULL
               OR c.revoked_at IS NULL AND c.expires_at > now() AND c.team IS NOT DISTINCT FROM w.team
                  AND (c.queues IS NULL OR j.queue = ANY (c.queues) OR j.queue = ANY (o.queues_added)))
        RETURNING j.id, j.kind, j.slots, j.workload, j.log_path, j.worker_name, j.lease_id, j.queued_at
    ), granted AS (
        INSERT INTO edge.lease (id, job_id, worker_name, log_path)
        SELECT lease_id, id, worker_name, log_path FROM claimed
    )
    SELECT id, kind, slots, workload, log_path, worker_name, lease_id, queued_at FROM claimed
    """
).bindparams(bindparam("workers", type_=_TEXTS), bindparam("accept_timeout", type_=Interval))


def claim(picks: Sequence[Pick], accept_timeout: timedelta) -> Executable:
    """Give jobs to workers (design: I-2) and return those given.

    Rows: (id, kind, slots, workload, log_path, worker_name, lease_id, queued_at).

    Whether a worker may have the job at all is decided here and nowhere else (design: I-5): the desired row is locked
    for the length of the claim, so once a maintenance request is stored no claim follows it. What the credential of the
    worker's session grants is looked up each time (one row by its key), so a narrowed scope counts at the next claim.
    """
    return _CLAIM.bindparams(
        jobs=_texts(pick.job_id for pick in picks),
        workers=[pick.worker for pick in picks],
        sessions=_texts(pick.session_id for pick in picks),
        leases=_texts(pick.lease_id for pick in picks),
        accept_timeout=accept_timeout,
    )


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
).bindparams(bindparam("workers", type_=_TEXTS))


def accept(leases: Sequence[HeldLease]) -> Executable:
    """Move leased jobs to running and return (lease_id, worker_name, queue, waited_s: seconds since queued).

    A repeat is good. A callback's owner is told, since Airflow shows callbacks as running; for tasks the Execution API
    tells it.
    """
    return _ACCEPT.bindparams(leases=_texts(held.lease_id for held in leases), workers=[held.worker for held in leases])


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
).bindparams(bindparam("workers", type_=_TEXTS), bindparam("outcomes", type_=_TEXTS), bindparam("errors", type_=_TEXTS))


def report(reports: Sequence[JobReport]) -> Executable:
    """Finish held jobs and return (lease_id, worker_name, fresh) of the leases that were good.

    `fresh` is false for a repeat.

    A report for a job that is only leased counts too: the accept was sent before it, on the same wire.
    """
    return _REPORT.bindparams(
        leases=_texts(each.lease_id for each in reports),
        workers=[each.worker for each in reports],
        outcomes=[each.outcome for each in reports],
        exit_codes=_texts(each.exit_code for each in reports),
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
    return _RELEASE.bindparams(leases=_texts(lease_ids))


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


_TAKE_EVENTS = text(
    """
    UPDATE edge.job SET event_pending = false
    WHERE id IN (
        SELECT id FROM edge.job WHERE owner = :owner AND event_pending
        ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    RETURNING id, kind, state, dag_id, task_id, run_id, map_index, try_number, worker_name, exit_code, error
    """
)


def take_events(owner: str, limit: int = 1000) -> Executable:
    """Return the jobs of a scheduler that changed since it last asked, and note that it was told.

    Touches only rows with news, so it neither reads nor locks queued or running ones.
    """
    return _TAKE_EVENTS.bindparams(owner=owner, limit=limit)


_ADOPT = text(
    """
    UPDATE edge.job SET owner = :owner, event_pending = (finished_at IS NOT NULL)
    WHERE id = ANY (CAST(:ids AS uuid[])) AND state <> 'removed'
    RETURNING id, kind, dag_id, task_id, run_id, map_index, try_number
    """
)


def adopt(owner: str, ids: Sequence[UUID]) -> Executable:
    """Hand jobs to another scheduler and return (id, kind and what names the task).

    Finished ones are told again: their owner may never have read.
    """
    return _ADOPT.bindparams(owner=owner, ids=_texts(ids))


def still_owned(owner: str, ids: Sequence[UUID]) -> Executable:
    """Return which of these jobs this scheduler will still be told of: (id)."""
    return select(job.c.id).where(
        job.c.id.in_(list(ids)), job.c.owner == owner, job.c.finished_at.is_(None) | job.c.event_pending
    )


_REVOKE = text(
    """
    WITH old AS (
        SELECT id, state, worker_name FROM edge.job
        WHERE id = CAST(:id AS uuid) AND state IN ('queued', 'leased', 'running') FOR UPDATE
    ), silenced AS (
        UPDATE edge.job SET event_pending = false WHERE id = CAST(:id AS uuid) AND finished_at IS NOT NULL
    ), removed AS (
        UPDATE edge.job j SET state = 'removed', finished_at = now(), workload = NULL, lease_expires_at = NULL,
            event_pending = false
        FROM old WHERE j.id = old.id
        RETURNING j.id, j.worker_name
    )
    SELECT id, worker_name,
           CASE WHEN worker_name IS NOT NULL THEN pg_notify('edge', 'cancel ' || worker_name) END
    FROM removed
    """
)


def revoke(job_id: UUID) -> Executable:
    """Take an unfinished job back and hint its worker's session; returns (id, worker_name, hint).

    Nothing is told of the job from then on, also where it has finished just before.
    """
    return _REVOKE.bindparams(id=str(job_id))


NEVER_ASKED_FACTOR = 7
"""A finished job is kept so many times longer while its scheduler has not asked for it."""


def purge_finished(older_than: timedelta) -> Executable:
    """Delete finished jobs that their scheduler has been told of, and much older ones that nobody will ask for.

    A scheduler that died leaves such: a task that ended well in Airflow by itself is adopted by nobody.
    """
    told = ~job.c.event_pending | (job.c.finished_at < func.now() - NEVER_ASKED_FACTOR * older_than)
    return delete(job).where(job.c.finished_at < func.now() - older_than, told)


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
