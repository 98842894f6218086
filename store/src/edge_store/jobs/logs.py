"""Statements on `edge.lease` and `edge.log`: task logs as chunks by (lease, offset).

A lease owns its log, whatever happens to its job, since log bytes may arrive after the report, after a fence, or after
an outage. The log grows only at the end that the lease row knows, which makes repeats harmless.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import LargeBinary, Text

from edge_store.database.statement import Command, Statement
from edge_store.schema.tables import lease, log


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes to append. `start` must be the end of the log as stored, plus `skipped` bytes that were lost."""

    lease_id: UUID
    worker: str
    start: int
    skipped: int
    data: bytes


class AppendedLog(NamedTuple):
    """A log that has grown."""

    lease_id: UUID
    log_bytes: int


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


def append(chunks: Sequence[LogChunk]) -> Statement[AppendedLog]:
    """Append chunks, at most one per lease; a chunk that does not fit returns no row.

    For those `log_ends` returns where their log really ends.
    """
    executable = _APPEND.bindparams(
        leases=[str(chunk.lease_id) for chunk in chunks],
        workers=[chunk.worker for chunk in chunks],
        starts=[str(chunk.start) for chunk in chunks],
        skips=[str(chunk.skipped) for chunk in chunks],
        data=[chunk.data for chunk in chunks],
    )
    return Statement("log_append", executable, AppendedLog)


class LogEnd(NamedTuple):
    """Where a log ends."""

    id: UUID
    worker_name: str
    log_bytes: int


def log_ends(lease_ids: Sequence[UUID]) -> Statement[LogEnd]:
    """Return where the logs of leases end."""
    executable = select(*(lease.c[name] for name in LogEnd._fields)).where(lease.c.id.in_(list(lease_ids)))
    return Statement("log_ends", executable, LogEnd)


def open_log(lease_id: UUID, job_id: UUID, writer: str, log_path: str) -> Command:
    """Create a log of a job that no worker writes, such as that of a trigger; `append` takes its chunks."""
    return Command("open_log", lease.insert().values(id=lease_id, job_id=job_id, worker_name=writer, log_path=log_path))


class LeaseLog(NamedTuple):
    """The log of a lease."""

    id: UUID
    worker_name: str
    log_path: str | None
    granted_at: datetime
    log_bytes: int


_LEASE_LOGS = select(*(lease.c[name] for name in LeaseLog._fields)).order_by(lease.c.granted_at, lease.c.id)


def leases_of_path(log_path: str) -> Statement[LeaseLog]:
    """Return the logs that were written for a log path, oldest first.

    A task that was deferred or rescheduled writes one path under several leases, and its triggers write next to it.
    """
    jobs_of_path = select(lease.c.job_id).where(lease.c.log_path == log_path)
    return Statement("leases_of_path", _LEASE_LOGS.where(lease.c.job_id.in_(jobs_of_path)), LeaseLog)


def leases_of_job(job_id: UUID) -> Statement[LeaseLog]:
    """Return the logs that were written for a job, oldest first."""
    return Statement("leases_of_job", _LEASE_LOGS.where(lease.c.job_id == job_id), LeaseLog)


class StoredChunk(NamedTuple):
    """Bytes of a log."""

    start: int
    data: bytes


def chunks_after(lease_id: UUID, start: int, limit: int) -> Statement[StoredChunk]:
    """Return at most `limit` chunks from offset `start` on, in order."""
    executable = (
        select(log.c.start, log.c.data)
        .where(log.c.lease_id == lease_id, log.c.start >= start)
        .order_by(log.c.start)
        .limit(limit)
    )
    return Statement("log_chunks", executable, StoredChunk)
