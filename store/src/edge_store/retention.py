"""What is deleted after a time, in batches: a statement over millions of rows would never end within its time limit.

Each statement returns the number of rows that it deleted; the caller repeats it until that is zero.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, text
from sqlalchemy.types import Interval

from edge_store.database.statement import Statement

LIMIT: Final = 1000
SAMPLES_LIMIT: Final = 50_000
"""They are small, and no index finds the old ones, so that each batch reads the whole table."""
LEASES_LIMIT: Final = 50
LOG_BYTES_LIMIT: Final = 256 << 20
"""With each lease goes its log. A batch has fewer leases, but at least one, where their logs are larger than this."""

UNTAKEN_FACTOR: Final = 7
"""A finished job is kept this many times longer while its event was not taken."""


class Deleted(NamedTuple):
    """The result of one batch."""

    deleted: int


def _purge(name: str, sql: str, older_than: timedelta, limit: int = LIMIT, **values: Any) -> Statement[Deleted]:
    statement = text(f"WITH gone AS ({sql}) SELECT count(*) AS deleted FROM gone")  # noqa: S608  (constant texts)
    intervals = {"older_than": older_than, **values}
    bound: Mapping[str, Any] = {**intervals, "limit": limit}
    executable = statement.bindparams(*(bindparam(each, type_=Interval) for each in intervals)).bindparams(**bound)
    return Statement(name, executable, Deleted)


def finished_jobs(older_than: timedelta) -> Statement[Deleted]:
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


def orphaned_jobs(older_than: timedelta) -> Statement[Deleted]:
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


def leases(older_than: timedelta) -> Statement[Deleted]:
    """Delete leases that were granted long ago, and with them their logs; never one of an unfinished job."""
    sql = f"""
        DELETE FROM edge.lease WHERE id IN (
            SELECT id FROM (
                SELECT id, sum(log_bytes) OVER (ORDER BY granted_at, id) - log_bytes AS bytes_before FROM (
                    SELECT id, granted_at, log_bytes FROM edge.lease l
                    WHERE granted_at < now() - :older_than AND NOT EXISTS (
                        SELECT 1 FROM edge.job j WHERE j.lease_id = l.id AND j.state IN ('leased', 'running')
                    )
                    ORDER BY granted_at LIMIT :limit FOR UPDATE SKIP LOCKED
                ) old
            ) old WHERE bytes_before < {LOG_BYTES_LIMIT}
        ) RETURNING id
    """  # noqa: S608  (a constant)
    return _purge("purge_logs", sql, older_than, LEASES_LIMIT)


def audit_entries(older_than: timedelta) -> Statement[Deleted]:
    """Delete old entries of the audit trail."""
    sql = """
        DELETE FROM edge.audit WHERE id IN (
            SELECT id FROM edge.audit WHERE at < now() - :older_than ORDER BY at LIMIT :limit
        ) RETURNING id
    """
    return _purge("purge_audit", sql, older_than)


def join_tokens(older_than: timedelta) -> Statement[Deleted]:
    """Delete join tokens that expired or were revoked long ago."""
    sql = """
        DELETE FROM edge.join_token WHERE id IN (
            SELECT id FROM edge.join_token WHERE least(expires_at, revoked_at) < now() - :older_than LIMIT :limit
        ) RETURNING id
    """
    return _purge("purge_join_tokens", sql, older_than)


def credentials(older_than: timedelta) -> Statement[Deleted]:
    """Delete credentials that expired or were revoked long ago.

    They must be kept as long as the audit trail: they tell whose team a worker of an entry was.
    """
    sql = """
        DELETE FROM edge.credential WHERE id IN (
            SELECT id FROM edge.credential WHERE least(expires_at, revoked_at) < now() - :older_than LIMIT :limit
        ) RETURNING id
    """
    return _purge("purge_credentials", sql, older_than)


def worker_events(older_than: timedelta) -> Statement[Deleted]:
    """Delete old changes of the state of workers."""
    sql = """
        DELETE FROM edge.worker_event WHERE id IN (
            SELECT id FROM edge.worker_event WHERE at < now() - :older_than ORDER BY at LIMIT :limit
        ) RETURNING id
    """
    return _purge("purge_worker_events", sql, older_than)


def worker_samples(older_than: timedelta) -> Statement[Deleted]:
    """Delete samples that no newer one has replaced: those of workers that are gone."""
    sql = """
        DELETE FROM edge.worker_sample WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM edge.worker_sample WHERE at < now() - :older_than LIMIT :limit
        )) RETURNING worker_name
    """
    return _purge("purge_worker_samples", sql, older_than, SAMPLES_LIMIT)
