"""Statements on `edge.lease` and `edge.log`: task logs as chunks by (lease, offset).

A lease owns its log, whatever happens to its job, since log bytes may arrive after the report, after a fence, or after
an outage. The log grows only at the end that the lease row knows, which makes repeats harmless. A log that exceeds its
limit goes on growing there, but of what follows only the end is stored (ADR 0028).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, LargeBinary, Text

from edge_store.database.statement import Command, Statement
from edge_store.schema.tables import lease, log

MAX_BYTES: Final = 64 << 20
"""What is stored of one log unless somebody decides otherwise."""

TAIL_BYTES: Final = 64 << 10
"""At least this much, and at most twice as much, is also kept of the end of a log that exceeds its limit."""

AT_END: Final = -1
"""As the start of a chunk: wherever the log ends."""


@dataclass(frozen=True, slots=True)
class LogLimit:
    """How much of one log is stored: its beginning, then a notice if there is more, then its end."""

    max_bytes: int
    """Of the beginning."""
    notice: bytes


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes to append. `start` must be the end of the log plus `skipped` bytes that were lost, or `AT_END`."""

    lease_id: UUID
    worker: str
    start: int
    skipped: int
    data: bytes


class AppendedLog(NamedTuple):
    """A log that has grown."""

    lease_id: UUID
    log_bytes: int
    stored: int
    """How many of these bytes are stored."""
    discarded: int
    """How many bytes, of these or of earlier ones, are not stored any more."""
    truncated: bool
    """The log has exceeded its limit with these bytes."""


_APPEND = text(
    """
    WITH c AS (
        SELECT * FROM unnest(CAST(:leases AS uuid[]), :workers, CAST(:starts AS bigint[]), CAST(:skips AS bigint[]),
                             :data) AS c(lease_id, worker, start, skipped, data)
    ), moved AS (
        UPDATE edge.lease l
        SET log_bytes = length(c.data) + CASE WHEN c.start = :at_end THEN l.log_bytes ELSE c.start END
        FROM c WHERE l.id = c.lease_id AND l.worker_name = c.worker
          AND (c.start = :at_end OR c.start BETWEEN l.log_bytes AND l.log_bytes + c.skipped)
        RETURNING l.id, l.log_bytes - length(c.data) AS start, l.log_bytes AS ending, c.data
    ), head AS (
        SELECT id, start, substring(data FROM 1 FOR CAST(least(:limit - start, length(data)) AS integer)) AS data
        FROM moved WHERE start < :limit
    ), notice AS (
        -- The primary key makes it one notice, whoever writes it.
        INSERT INTO edge.log (lease_id, start, data) SELECT id, :limit, :notice FROM moved WHERE ending > :limit
        ON CONFLICT DO NOTHING RETURNING lease_id
    ), tail AS (
        SELECT id, greatest(start, :limit + length(:notice), ending - :tail) AS start, ending, data,
            start < ending - :tail AS trimmed
        FROM moved WHERE ending > :limit + length(:notice)
    ), outdated AS (
        -- A stored chunk of the tail has at most :tail bytes: one that starts before twice that ends before the tail.
        DELETE FROM edge.log g USING tail t
        WHERE g.lease_id = t.id AND g.start >= :limit + length(:notice)
          AND g.start < CASE WHEN t.trimmed THEN t.start ELSE t.ending - 2 * :tail END
        RETURNING g.lease_id, length(g.data) AS bytes
    ), written AS (
        INSERT INTO edge.log (lease_id, start, data)
        SELECT id, start, data FROM head
        UNION ALL
        SELECT id, start, substring(data FROM CAST(length(data) - (ending - start) + 1 AS integer)) FROM tail
        RETURNING lease_id, length(data) AS bytes
    ), counted AS (
        SELECT m.id AS lease_id, m.ending AS log_bytes, length(m.data) AS bytes,
            coalesce(w.bytes, 0) AS stored, coalesce(o.bytes, 0) AS outdated
        FROM moved m
        LEFT JOIN (SELECT lease_id, CAST(sum(bytes) AS bigint) AS bytes FROM written GROUP BY 1) w ON w.lease_id = m.id
        LEFT JOIN (SELECT lease_id, CAST(sum(bytes) AS bigint) AS bytes FROM outdated GROUP BY 1) o ON o.lease_id = m.id
    )
    SELECT lease_id, log_bytes, stored, bytes - stored + outdated AS discarded,
        lease_id IN (SELECT lease_id FROM notice) AS truncated
    FROM counted
    """
).bindparams(
    bindparam("workers", type_=ARRAY(Text)),
    bindparam("data", type_=ARRAY(LargeBinary)),
    bindparam("limit", type_=BigInteger),
    bindparam("tail", type_=BigInteger),
    bindparam("at_end", type_=BigInteger),
    bindparam("notice", type_=LargeBinary),
)


def append(chunks: Sequence[LogChunk], limit: LogLimit) -> Statement[AppendedLog]:
    """Append chunks, at most one per lease; a chunk that does not fit returns no row.

    For those `log_ends` returns where their log really ends. What exceeds the limit counts as appended, but only its
    end is stored.
    """
    executable = _APPEND.bindparams(
        leases=[str(chunk.lease_id) for chunk in chunks],
        workers=[chunk.worker for chunk in chunks],
        starts=[str(chunk.start) for chunk in chunks],
        skips=[str(chunk.skipped) for chunk in chunks],
        data=[chunk.data for chunk in chunks],
        limit=limit.max_bytes,
        tail=TAIL_BYTES,
        at_end=AT_END,
        notice=limit.notice,
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
    The job alone does not decide: Airflow repeats a task that failed before it ran under the same ID.
    """
    # By the job first, which has an index: a job has few leases.
    jobs_of_path = select(lease.c.job_id).where(lease.c.log_path == log_path)
    of_path = (lease.c.log_path == log_path) | lease.c.log_path.startswith(f"{log_path}.trigger.", autoescape=True)
    return Statement("leases_of_path", _LEASE_LOGS.where(lease.c.job_id.in_(jobs_of_path), of_path), LeaseLog)


def leases_of_job(job_id: UUID) -> Statement[LeaseLog]:
    """Return the logs that were written for a job, oldest first."""
    return Statement("leases_of_job", _LEASE_LOGS.where(lease.c.job_id == job_id), LeaseLog)


class StoredChunk(NamedTuple):
    """Bytes of a log."""

    start: int
    data: bytes


_CHUNKS = text(
    """
    SELECT start, data FROM edge.log
    WHERE lease_id = CAST(:lease AS uuid) AND start < :ending AND start >= coalesce(
        (SELECT max(start) FROM edge.log WHERE lease_id = CAST(:lease AS uuid) AND start <= :start), 0)
    ORDER BY start LIMIT :limit
    """
)

OPEN_END: Final = 2**63 - 1
"""As the end of a range: the end of the log, wherever it is by then."""


def chunks(lease_id: UUID, start: int, ending: int, limit: int) -> Statement[StoredChunk]:
    """Return at most `limit` chunks, in order, of those with bytes from offset `start` up to, not including, `ending`.

    The first one may begin before `start`, or even end before it if bytes are missing there.
    """
    executable = _CHUNKS.bindparams(lease=str(lease_id), start=start, ending=ending, limit=limit)
    return Statement("log_chunks", executable, StoredChunk)


def chunks_before(lease_id: UUID, ending: int, limit: int) -> Statement[StoredChunk]:
    """Return at most `limit` chunks that start before an offset, the last one first."""
    executable = (
        select(log.c.start, log.c.data)
        .where(log.c.lease_id == lease_id, log.c.start < ending)
        .order_by(log.c.start.desc())
        .limit(limit)
    )
    return Statement("log_chunks_before", executable, StoredChunk)


class LogStorage(NamedTuple):
    """Disk space of the tables with logs."""

    bytes: int


def storage() -> Statement[LogStorage]:
    """Return the disk space that logs and leases take, with indexes and with space that is free for new rows.

    It reads sizes of files, whatever the number of rows.
    """
    executable = text("SELECT pg_total_relation_size('edge.log') + pg_total_relation_size('edge.lease') AS bytes")
    return Statement("log_storage", executable, LogStorage)
