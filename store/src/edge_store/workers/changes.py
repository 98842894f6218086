"""Statements of the change stream: which workers changed, without missing a commit that comes late.

`edge.worker.revision` is the transaction that changed the row last. Numbers are given out before commits happen, so a
reader must not go on from the largest that it saw: it goes on from `horizon`, the oldest transaction that was still
under way when it looked. It may read a row again, never miss one. A removed worker leaves a tombstone for a while.
"""

from datetime import timedelta

from sqlalchemy import Executable, bindparam, exists, select, text
from sqlalchemy.types import Interval

from edge_store.schema.tables import worker, worker_removed

_PURGED = "tombstones_purged"

_HORIZON = text(
    """
    SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS horizon,
           coalesce((SELECT CAST(value AS bigint) FROM edge.platform WHERE key = :key), 0) AS purged
    """
).bindparams(key=_PURGED)


def horizon() -> Executable:
    """Return (horizon, purged). Ask for it before reading rows, never after.

    Every transaction before `horizon` is over, so what it wrote is seen by the statements that follow. A reader whose
    place is at or before `purged` may have missed a tombstone.
    """
    return _HORIZON


def removed_since(revision: int) -> Executable:
    """Return (name, revision, team) of workers that were removed since, and have not come back."""
    return (
        select(worker_removed.c.name, worker_removed.c.revision, worker_removed.c.team)
        .where(worker_removed.c.revision >= revision, ~exists().where(worker.c.name == worker_removed.c.name))
        .order_by(worker_removed.c.revision, worker_removed.c.name)
    )


_PURGE = text(
    """
    WITH gone AS (
        DELETE FROM edge.worker_removed WHERE removed_at < now() - :older_than RETURNING revision
    )
    INSERT INTO edge.platform AS p (key, value)
    SELECT :key, CAST(max(revision) AS text) FROM gone HAVING count(*) > 0
    ON CONFLICT (key) DO UPDATE SET updated_at = now(),
        value = CAST(greatest(CAST(p.value AS bigint), CAST(excluded.value AS bigint)) AS text)
    """
).bindparams(bindparam("older_than", type_=Interval), key=_PURGED)


def purge_tombstones(older_than: timedelta) -> Executable:
    """Delete old tombstones, and note how far back a reader may start."""
    return _PURGE.bindparams(older_than=older_than)
