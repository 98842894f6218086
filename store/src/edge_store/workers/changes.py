"""Statements of the change stream: which workers changed, without missing a commit that comes late.

`edge.worker.revision` is the transaction that changed the row last. Numbers are given out before commits happen, so a
reader must not go on from the largest that it saw: it goes on from `horizon`, the oldest transaction that was still
open when it looked. It may read a row twice, but never misses one. A removed worker leaves a tombstone for a while.
"""

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, exists, select, text
from sqlalchemy.types import Interval

from edge_store.database.statement import Command, Statement
from edge_store.schema.tables import worker, worker_removed

_PURGED = "tombstones_purged"


class Horizon(NamedTuple):
    """The place from which a reader of the change stream goes on."""

    horizon: int
    """The oldest transaction that is still open."""
    purged: int
    """The newest tombstone that was purged; 0: none."""


_HORIZON = text(
    """
    SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS horizon,
           coalesce((SELECT CAST(value AS bigint) FROM edge.platform WHERE key = :key), 0) AS purged
    """
).bindparams(key=_PURGED)


def horizon() -> Statement[Horizon]:
    """Return the horizon. Ask for it before reading rows, never after.

    Every transaction before `horizon` has ended, so later statements see everything that it wrote. A reader whose place
    is at or before `purged` may have missed a tombstone.
    """
    return Statement("change_horizon", _HORIZON, Horizon)


class RemovedWorker(NamedTuple):
    """A tombstone."""

    name: str
    revision: int
    team: str | None


def removed_since(revision: int) -> Statement[RemovedWorker]:
    """Return the workers that were removed in the transaction `revision` or later, and have not come back."""
    executable = (
        select(worker_removed.c.name, worker_removed.c.revision, worker_removed.c.team)
        .where(worker_removed.c.revision >= revision, ~exists().where(worker.c.name == worker_removed.c.name))
        .order_by(worker_removed.c.revision, worker_removed.c.name)
    )
    return Statement("removed_workers", executable, RemovedWorker)


_PURGE = text(
    """
    WITH purged AS (
        DELETE FROM edge.worker_removed WHERE removed_at < now() - :older_than RETURNING revision
    )
    INSERT INTO edge.platform AS p (key, value)
    SELECT :key, CAST(max(revision) AS text) FROM purged HAVING count(*) > 0
    ON CONFLICT (key) DO UPDATE SET updated_at = now(),
        value = CAST(greatest(CAST(p.value AS bigint), CAST(excluded.value AS bigint)) AS text)
    """
).bindparams(bindparam("older_than", type_=Interval), key=_PURGED)


def purge_tombstones(older_than: timedelta) -> Command:
    """Delete old tombstones, and note how far back a reader may start."""
    return Command("purge_tombstones", _PURGE.bindparams(older_than=older_than))
