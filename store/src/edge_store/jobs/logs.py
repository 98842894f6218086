"""Statements on `edge.lease` and `edge.log`: task logs as chunks by (lease, offset).

A lease owns its log whatever became of its job, since log bytes may arrive after the report, after a fence, or after an
outage. The log is append-only at the end that the lease row knows, which makes repeats harmless.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Executable, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import LargeBinary, Text

from edge_store.schema.tables import lease, log


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes to append. `start` must be the end of the log as stored, plus `skipped` bytes that are gone for good."""

    lease_id: UUID
    worker: str
    start: int
    skipped: int
    data: bytes


_APPEND = text(
    """
    WITH c AS (
        SELECT * FROM unnest(CAST(:leases AS uuid[]), :workers, CAST(:starts AS bigint[]), CAST(:skips AS bigint[]),
                             :data) AS c(lease_id, worker, start, skipped, data)
    ), moved AS (
        UPDATE edge.lease l SET log_bytes = c.start + length(c.data)
        FROM c WHERE l.id = c.lease_id AND l.worker_name = c.worker
          AND c.start BETWEEN l.log_bytes AND l.log_bytes + c.skipped
        RETURNING l.id, l.log_bytes, c.start, c.data
    ), written AS (
        INSERT INTO edge.log (lease_id, start, data) SELECT id, start, data FROM moved
    )
    SELECT id AS lease_id, log_bytes FROM moved
    """
).bindparams(bindparam("workers", type_=ARRAY(Text)), bindparam("data", type_=ARRAY(LargeBinary)))


def append(chunks: Sequence[LogChunk]) -> Executable:
    """Append chunks, at most one per lease, and return (lease_id, log_bytes) of those that fitted.

    For the others `log_ends` says where their log really ends.
    """
    return _APPEND.bindparams(
        leases=[str(chunk.lease_id) for chunk in chunks],
        workers=[chunk.worker for chunk in chunks],
        starts=[str(chunk.start) for chunk in chunks],
        skips=[str(chunk.skipped) for chunk in chunks],
        data=[chunk.data for chunk in chunks],
    )


def log_ends(lease_ids: Sequence[UUID]) -> Executable:
    """Return where logs end: (id, worker_name, log_bytes)."""
    return select(lease.c.id, lease.c.worker_name, lease.c.log_bytes).where(lease.c.id.in_(list(lease_ids)))


def open_log(lease_id: UUID, job_id: UUID, writer: str, log_path: str) -> Executable:
    """Make a log of a job that no worker writes, such as that of a trigger; `append` takes its chunks."""
    return lease.insert().values(id=lease_id, job_id=job_id, worker_name=writer, log_path=log_path)


_READER_COLUMNS = (lease.c.id, lease.c.worker_name, lease.c.log_path, lease.c.granted_at, lease.c.log_bytes)


def leases_of_path(log_path: str) -> Executable:
    """Return what was written for a log path, oldest first: (id, worker_name, log_path, granted_at, log_bytes).

    A task that was deferred or rescheduled writes one path under several leases, and its triggers write next to it.
    """
    jobs_of_path = select(lease.c.job_id).where(lease.c.log_path == log_path)
    return select(*_READER_COLUMNS).where(lease.c.job_id.in_(jobs_of_path)).order_by(lease.c.granted_at, lease.c.id)


def leases_of_job(job_id: UUID) -> Executable:
    """Return what was written for a job, oldest first, with columns as of `leases_of_path`."""
    return select(*_READER_COLUMNS).where(lease.c.job_id == job_id).order_by(lease.c.granted_at, lease.c.id)


def chunks_after(lease_id: UUID, start: int, limit: int) -> Executable:
    """Return at most `limit` chunks from offset `start` on, in order: (start, data)."""
    return (
        select(log.c.start, log.c.data)
        .where(log.c.lease_id == lease_id, log.c.start >= start)
        .order_by(log.c.start)
        .limit(limit)
    )


def purge(older_than: timedelta) -> Executable:
    """Delete leases, and with them logs, granted longer ago than `older_than`."""
    return delete(lease).where(lease.c.granted_at < func.now() - older_than)
