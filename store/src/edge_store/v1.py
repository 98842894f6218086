"""Statements that only the v1 wire needs: its workers name jobs by task, not by lease."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Executable, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import LargeBinary, Text

from edge_store.schema.tables import credential, job, lease, worker


@dataclass(frozen=True, slots=True)
class TaskName:
    """How a v1 worker names a task; `id` is its task instance id, which older ones do not tell."""

    id: UUID | None
    dag_id: str
    task_id: str
    run_id: str
    try_number: int
    map_index: int


def held(name: TaskName) -> Executable:
    """Return the job of a task with the lease that was granted last, while or after it was held.

    Rows: (id, state, lease_id, worker_name, protocol of the worker, log_path).
    """
    wanted = (
        select(job.c.id, job.c.state, job.c.lease_id, job.c.worker_name, worker.c.protocol, job.c.log_path)
        .select_from(job)
        .outerjoin(worker, worker.c.name == job.c.worker_name)
        .limit(1)
    )
    if name.id is not None:
        return wanted.where(job.c.id == name.id)
    return wanted.where(
        job.c.dag_id == name.dag_id,
        job.c.task_id == name.task_id,
        job.c.run_id == name.run_id,
        job.c.map_index == name.map_index,
        job.c.try_number == name.try_number,
    )


def last_lease(job_id: UUID) -> Executable:
    """Return the lease of a job that was granted last: (id, worker_name, protocol of the worker)."""
    return (
        select(lease.c.id, lease.c.worker_name, worker.c.protocol)
        .outerjoin(worker, worker.c.name == lease.c.worker_name)
        .where(lease.c.job_id == job_id)
        .order_by(lease.c.granted_at.desc(), lease.c.id)
        .limit(1)
    )


_APPEND = text(
    """
    WITH moved AS (
        UPDATE edge.lease SET log_bytes = log_bytes + length(:data)
        WHERE id = CAST(:lease AS uuid) AND worker_name = :worker
        RETURNING id, log_bytes
    ), written AS (
        INSERT INTO edge.log (lease_id, start, data) SELECT id, log_bytes - length(:data), :data FROM moved
    )
    SELECT log_bytes FROM moved
    """
).bindparams(bindparam("data", type_=LargeBinary))


def append_log(lease_id: UUID, worker_name: str, data: bytes) -> Executable:
    """Append to a lease's log wherever it ends, and return (log_bytes); nothing: it is not the worker's lease."""
    return _APPEND.bindparams(lease=str(lease_id), worker=worker_name, data=data)


_NOTE = text(
    """
    UPDATE edge.worker
    SET versions = CAST(:versions AS jsonb), queues = :queues, concurrency = :concurrency,
        revision = CASE WHEN (queues, concurrency) = (:queues, :concurrency) THEN revision
            ELSE CAST(CAST(pg_current_xact_id() AS text) AS bigint) END
    WHERE name = :name AND session_id = CAST(:session AS uuid)
    """
).bindparams(bindparam("queues", type_=ARRAY(Text)))


def note(name: str, session_id: UUID, versions: dict[str, Any], queues: Sequence[str], concurrency: int) -> Executable:
    """Write what a heartbeat of a v1 worker tells beside what every heartbeat does."""
    return _NOTE.bindparams(
        name=name,
        session=str(session_id),
        versions=json.dumps(versions),
        queues=list(queues),
        concurrency=concurrency,
    )


def queued_queues() -> Executable:
    """Return (queue, team) of all jobs that wait."""
    return select(job.c.queue, job.c.team).where(job.c.state == "queued").distinct()


def enrolled(name: str) -> Executable:
    """Return (id) of the good credentials of a name: an enrolled worker owns it."""
    return select(credential.c.id).where(
        credential.c.worker_name == name,
        credential.c.revoked_at.is_(None),
        credential.c.expires_at > text("now()"),
    )


def task_name(job_id: UUID) -> Executable:
    """Return what names a task: (dag_id, task_id, run_id, map_index, try_number), all NULL for a callback."""
    return select(job.c.dag_id, job.c.task_id, job.c.run_id, job.c.map_index, job.c.try_number).where(
        job.c.id == job_id
    )
