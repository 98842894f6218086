"""What is deleted after a time, in batches: a statement over millions of rows would never end within its time limit.

Each statement returns the number of rows that it deleted; the caller repeats it until that is less than the limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, text
from sqlalchemy.types import Interval

from edge_store.database.statement import Statement

LIMIT: Final = 1000
LEASES_LIMIT: Final = 50
"""With each lease goes its log, which may be large."""

UNTAKEN_FACTOR: Final = 7
"""A finished job is kept this many times longer while its event was not taken."""


class Deleted(NamedTuple):
    """The result of one batch."""

    deleted: int


@dataclass(frozen=True, slots=True)
class Purge:
    """One kind of rows that are deleted."""

    statement: Statement[Deleted]
    limit: int
    """Fewer rows deleted: there are no more for now."""


def _purge(name: str, sql: str, older_than: timedelta, limit: int = LIMIT, **values: Any) -> Purge:
    statement = text(f"WITH gone AS ({sql}) SELECT count(*) AS deleted FROM gone")  # noqa: S608  (constant texts)
    intervals = {"older_than": older_than, **values}
    bound: Mapping[str, Any] = {**intervals, "limit": limit}
    executable = statement.bindparams(*(bindparam(each, type_=Interval) for each in intervals)).bindparams(**bound)
    return Purge(Statement(name, executable, Deleted), limit)


def finished_jobs(older_than: timedelta) -> Purge:
    """Delete finished jobs whose event was taken, and much older ones whose event nobody will take.

    A scheduler that died leaves the latter: nobody adopts a task that Airflow already knows to have succeeded.
    """
    sql = """
        DELETE FROM edge.job WHERE id IN (
            SELECT id FROM edge.job
            WHERE finished_at < now() - :older_than AND (NOT event_pending OR finished_at < now() - :untaken)
            ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
        ) RETURNING id
    """
    return _purge("purge_jobs", sql, older_than, untaken=UNTAKEN_FACTOR * older_than)


def orphaned_jobs(older_than: timedelta) -> Purge:
    """Delete jobs that have waited in a queue for so long that no scheduler can want them any more.

    Airflow itself takes a task back whose job waits longer than `[scheduler] task_queued_timeout`; what is left was
    queued by a scheduler that died, for a task that is gone.
    """
    sql = """
        DELETE FROM edge.job WHERE id IN (
            SELECT id FROM edge.job WHERE state = 'queued' AND queued_at < now() - :older_than
            ORDER BY queued_at LIMIT :limit FOR UPDATE SKIP LOCKED
        ) RETURNING id
    """
    return _purge("purge_orphaned_jobs", sql, older_than)


def leases(older_than: timedelta) -> Purge:
    """Delete leases that were granted long ago, and with them their logs; never one of an unfinished job."""
    sql = """
        DELETE FROM edge.lease WHERE id IN (
            SELECT id FROM edge.lease l
            WHERE granted_at < now() - :older_than AND NOT EXISTS (
                SELECT 1 FROM edge.job j WHERE j.lease_id = l.id AND j.state IN ('leased', 'running')
            )
            ORDER BY granted_at LIMIT :limit FOR UPDATE SKIP LOCKED
        ) RETURNING id
    """
    return _purge("purge_logs", sql, older_than, LEASES_LIMIT)


def audit_entries(older_than: timedelta) -> Purge:
    """Delete old entries of the audit trail."""
    sql = """
        DELETE FROM edge.audit WHERE id IN (
            SELECT id FROM edge.audit WHERE at < now() - :older_than ORDER BY at LIMIT :limit
        ) RETURNING id
    """
    return _purge("purge_audit", sql, older_than)


def join_tokens(older_than: timedelta) -> Purge:
    """Delete join tokens that expired or were revoked long ago."""
    sql = """
        DELETE FROM edge.join_token WHERE id IN (
            SELECT id FROM edge.join_token WHERE least(expires_at, revoked_at) < now() - :older_than LIMIT :limit
        ) RETURNING id
    """
    return _purge("purge_join_tokens", sql, older_than)


def credentials(older_than: timedelta) -> Purge:
    """Delete credentials that expired or were revoked long ago.

    They must be kept as long as the audit trail: they tell whose team a worker of an entry was.
    """
    sql = """
        DELETE FROM edge.credential WHERE id IN (
            SELECT id FROM edge.credential WHERE least(expires_at, revoked_at) < now() - :older_than LIMIT :limit
        ) RETURNING id
    """
    return _purge("purge_credentials", sql, older_than)
