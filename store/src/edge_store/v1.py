"""Statements that only the v1 wire needs: its workers identify jobs by task, not by lease."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from edge_store.database.statement import Command, Statement
from edge_store.schema.tables import credential, job, lease, worker


@dataclass(frozen=True, slots=True)
class TaskName:
    """How a v1 worker names a task; `id` is its task instance id, which older workers do not send."""

    id: UUID | None
    dag_id: str
    task_id: str
    run_id: str
    try_number: int
    map_index: int


class NamedJob(NamedTuple):
    """The job of a task, with the lease that it has, or had last."""

    id: UUID
    state: str
    lease_id: UUID | None
    worker_name: str | None
    protocol: int | None
    """Of the worker."""
    log_path: str | None


def job_of_task(name: TaskName) -> Statement[NamedJob]:
    """Return the job of a task."""
    chosen = (
        select(job.c.id, job.c.state, job.c.lease_id, job.c.worker_name, worker.c.protocol, job.c.log_path)
        .select_from(job)
        .outerjoin(worker, worker.c.name == job.c.worker_name)
        .limit(1)
    )
    if name.id is not None:
        return Statement("v1_job", chosen.where(job.c.id == name.id), NamedJob)
    chosen = chosen.where(
        job.c.dag_id == name.dag_id,
        job.c.task_id == name.task_id,
        job.c.run_id == name.run_id,
        job.c.map_index == name.map_index,
        job.c.try_number == name.try_number,
    )
    return Statement("v1_job", chosen, NamedJob)


class LastLease(NamedTuple):
    """The lease of a job that was granted last."""

    id: UUID
    worker_name: str
    protocol: int | None
    """Of the worker."""


def last_lease(job_id: UUID) -> Statement[LastLease]:
    """Return the lease of a job that was granted last."""
    executable = (
        select(lease.c.id, lease.c.worker_name, worker.c.protocol)
        .outerjoin(worker, worker.c.name == lease.c.worker_name)
        .where(lease.c.job_id == job_id)
        .order_by(lease.c.granted_at.desc(), lease.c.id)
        .limit(1)
    )
    return Statement("v1_last_lease", executable, LastLease)


_UPDATE_WORKER = text(
    """
    UPDATE edge.worker
    SET versions = CAST(:versions AS jsonb), queues = :queues, concurrency = :concurrency,
        revision = CASE WHEN (queues, concurrency) = (:queues, :concurrency) THEN revision
            ELSE CAST(CAST(pg_current_xact_id() AS text) AS bigint) END
    WHERE name = :name AND session_id = CAST(:session AS uuid)
    """
).bindparams(bindparam("queues", type_=ARRAY(Text)))


def update_worker(
    name: str, session_id: UUID, versions: dict[str, Any], queues: Sequence[str], concurrency: int
) -> Command:
    """Write the versions, queues and slots that a v1 worker sends with each heartbeat."""
    executable = _UPDATE_WORKER.bindparams(
        name=name,
        session=str(session_id),
        versions=json.dumps(versions),
        queues=list(queues),
        concurrency=concurrency,
    )
    return Command("v1_update_worker", executable)


class WaitingQueue(NamedTuple):
    """A queue in which jobs of a team wait."""

    queue: str
    team: str | None


def waiting_queues() -> Statement[WaitingQueue]:
    """Return the queues in which jobs wait."""
    executable = select(job.c.queue, job.c.team).where(job.c.state == "queued").distinct()
    return Statement("v1_waiting_queues", executable, WaitingQueue)


class ValidCredential(NamedTuple):
    """A credential of an enrolled worker."""

    id: UUID


def enrolled(name: str) -> Statement[ValidCredential]:
    """Return the valid credentials of a worker's name: with one, the name belongs to an enrolled worker."""
    executable = select(credential.c.id).where(
        credential.c.worker_name == name,
        credential.c.revoked_at.is_(None),
        credential.c.expires_at > text("now()"),
    )
    return Statement("v1_enrolled", executable, ValidCredential)


class TaskKey(NamedTuple):
    """The key of a task; all fields are None for a callback."""

    dag_id: str | None
    task_id: str | None
    run_id: str | None
    map_index: int | None
    try_number: int | None


def task_key(job_id: UUID) -> Statement[TaskKey]:
    """Return the key of a job's task."""
    executable = select(*(job.c[name] for name in TaskKey._fields)).where(job.c.id == job_id)
    return Statement("v1_task_key", executable, TaskKey)
