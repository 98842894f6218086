"""Statements on `edge.job` for the executor: queue a job, take events, adopt, revoke."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, select, text
from sqlalchemy.types import Text

from edge_store.database.arrays import texts
from edge_store.database.statement import Command, Statement
from edge_store.schema.tables import job


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as the executor queues it."""

    id: UUID
    kind: Literal["task", "callback"]
    queue: str
    team: str | None
    rank: int
    """0 for callbacks, which complete earlier work; 1 for tasks."""
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
            queued_at = now(), leased_at = NULL, started_at = NULL, finished_at = NULL, exit_code = NULL, error = NULL,
            execution_token = NULL, token_wanted = false
        RETURNING j.queue
    )
    SELECT pg_notify('edge', 'job ' || queue) FROM queued
    """
).bindparams(bindparam("team", type_=Text), bindparam("log_path", type_=Text))


def enqueue(new: NewJob) -> Command:
    """Store a job as queued and hint the dispatchers, in the caller's transaction (I-1 in docs/architecture.md).

    A job with the same ID starts again: Airflow queues a task instance again when it resumes from a deferral or a
    reschedule. Its old lease is void from then on.
    """
    return Command("enqueue", _ENQUEUE.bindparams(**{**asdict(new), "id": str(new.id)}))


class JobChange(NamedTuple):
    """A job that has started (callbacks) or finished since its scheduler last asked."""

    id: UUID | str
    """Text where Airflow's own driver does not read UUIDs."""
    kind: Literal["task", "callback"]
    state: str
    dag_id: str | None
    task_id: str | None
    run_id: str | None
    map_index: int | None
    try_number: int | None
    worker_name: str | None
    exit_code: int | None
    error: str | None


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


def take_events(owner: str, limit: int = 1000) -> Statement[JobChange]:
    """Return the pending events of a scheduler's jobs, and clear them.

    Touches only rows with an event, so it neither reads nor locks other queued or running jobs.
    """
    return Statement("take_events", _TAKE_EVENTS.bindparams(owner=owner, limit=limit), JobChange)


class AdoptedJob(NamedTuple):
    """A job that has a new owner, with the key that Airflow knows it by."""

    id: UUID | str
    kind: Literal["task", "callback"]
    dag_id: str | None
    task_id: str | None
    run_id: str | None
    map_index: int | None
    try_number: int | None


_ADOPT = text(
    """
    UPDATE edge.job SET owner = :owner, event_pending = (finished_at IS NOT NULL)
    WHERE id = ANY (CAST(:ids AS uuid[])) AND state <> 'removed'
    RETURNING id, kind, dag_id, task_id, run_id, map_index, try_number
    """
)


def adopt(owner: str, ids: Sequence[UUID]) -> Statement[AdoptedJob]:
    """Hand jobs to another scheduler.

    Finished jobs become events again: the scheduler before may never have taken them.
    """
    return Statement("adopt", _ADOPT.bindparams(owner=owner, ids=texts(ids)), AdoptedJob)


class OwnedJob(NamedTuple):
    """A job that its scheduler still waits for."""

    id: UUID


def still_owned(owner: str, ids: Sequence[UUID]) -> Statement[OwnedJob]:
    """Return which of these jobs are unfinished, or finished with an event pending, and still belong to `owner`."""
    executable = select(job.c.id).where(
        job.c.id.in_(list(ids)), job.c.owner == owner, job.c.finished_at.is_(None) | job.c.event_pending
    )
    return Statement("still_owned", executable, OwnedJob)


class RevokedJob(NamedTuple):
    """A job that was taken back."""

    id: UUID | str
    worker_name: str | None
    hints: int


_REVOKE = text(
    """
    WITH old AS (
        SELECT id, state, worker_name FROM edge.job
        WHERE id = CAST(:id AS uuid) AND state IN ('queued', 'leased', 'running') FOR UPDATE
    ), silenced AS (
        UPDATE edge.job SET event_pending = false WHERE id = CAST(:id AS uuid) AND finished_at IS NOT NULL
    ), removed AS (
        UPDATE edge.job j SET state = 'removed', finished_at = now(), workload = NULL, execution_token = NULL,
            lease_expires_at = NULL, event_pending = false
        FROM old WHERE j.id = old.id
        RETURNING j.id, j.worker_name
    ), hinted AS (
        SELECT pg_notify('edge', 'cancel ' || worker_name) FROM removed WHERE worker_name IS NOT NULL
    )
    SELECT id, worker_name, (SELECT count(*) FROM hinted) AS hints FROM removed
    """
)


def revoke(job_id: UUID) -> Statement[RevokedJob]:
    """Take an unfinished job back and hint its worker's session.

    The job makes no events from then on, not even one of an end that came just before.
    """
    return Statement("revoke_job", _REVOKE.bindparams(id=str(job_id)), RevokedJob)
