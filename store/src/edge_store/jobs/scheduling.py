"""Statements on `edge.job` for the executor: queue a job, hear how it went, take it back, forget it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Executable, bindparam, delete, func, select, text
from sqlalchemy.types import Text

from edge_store.database.arrays import texts
from edge_store.schema.tables import job


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
    return _ADOPT.bindparams(owner=owner, ids=texts(ids))


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
