"""Statements on workers for people: what they see, and what they wish for.

Every request raises the version and the revision (see `edge_store.workers.changes`) of the desired row, and hints the
session that serves the worker. A request that is already fulfilled changes nothing. All take a list of names, so one
worker and a thousand are the same statement; the rows returned say for which it took effect.

Wishes touch `edge.worker_desired` only, what workers tell touches `edge.worker` first: so the two never wait for each
other in a circle.
"""

from collections.abc import Sequence

from sqlalchemy import Executable, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Boolean, Integer, Text

_NAMES = bindparam("names", type_=ARRAY(Text))


_MAINTENANCE = text(
    """
    WITH changed AS (
        UPDATE edge.worker_desired
        SET maintenance = true, maintenance_comment = :comment, maintenance_by = :by, maintenance_at = now(),
            version = version + 1, revision = DEFAULT
        WHERE worker_name = ANY (:names)
          AND (NOT maintenance OR (maintenance_comment, maintenance_by) IS DISTINCT FROM (:comment, :by))
          AND (NOT :own_only OR NOT maintenance OR maintenance_by = :by)
        RETURNING worker_name
    )
    SELECT worker_name AS name, pg_notify('edge', 'desired ' || worker_name) FROM changed
    """
).bindparams(
    _NAMES, bindparam("comment", type_=Text), bindparam("by", type_=Text), bindparam("own_only", type_=Boolean)
)


def request_maintenance(names: Sequence[str], comment: str | None, by: str, *, own_only: bool = False) -> Executable:
    """Wish for maintenance, or change its comment; returns (name) of the workers for which that is news.

    `own_only` leaves a maintenance alone that somebody else than `by` wished for.
    """
    return _MAINTENANCE.bindparams(names=list(names), comment=comment, by=by, own_only=own_only)


_EXIT = text(
    """
    WITH changed AS (
        UPDATE edge.worker_desired
        SET maintenance = false, maintenance_comment = NULL, maintenance_by = NULL, maintenance_at = NULL,
            version = version + 1, revision = DEFAULT
        WHERE worker_name = ANY (:names) AND maintenance AND (:only_by IS NULL OR maintenance_by = :only_by)
        RETURNING worker_name
    )
    SELECT worker_name AS name, pg_notify('edge', 'desired ' || worker_name) FROM changed
    """
).bindparams(_NAMES, bindparam("only_by", type_=Text))


def exit_maintenance(names: Sequence[str], *, only_by: str | None = None) -> Executable:
    """Wish for the end of maintenance; returns (name) of the workers for which that is news.

    `only_by`: end it only where that one wished for it.
    """
    return _EXIT.bindparams(names=list(names), only_by=only_by)


_SHUTDOWN = text(
    """
    WITH changed AS (
        UPDATE edge.worker_desired d SET shutdown = true, version = d.version + 1, revision = DEFAULT
        FROM edge.worker w
        WHERE d.worker_name = ANY (:names) AND w.name = d.worker_name AND NOT w.offline AND NOT w.lost
          AND NOT d.shutdown
        RETURNING d.worker_name
    )
    SELECT worker_name AS name, pg_notify('edge', 'desired ' || worker_name) FROM changed
    """
).bindparams(_NAMES)


def request_shutdown(names: Sequence[str]) -> Executable:
    """Wish that live workers drain and stop; returns (name) of the workers for which that is news."""
    return _SHUTDOWN.bindparams(names=list(names))


_CANCEL_SHUTDOWN = text(
    """
    WITH changed AS (
        UPDATE edge.worker_desired d SET shutdown = false, version = d.version + 1, revision = DEFAULT
        FROM edge.worker w
        WHERE d.worker_name = ANY (:names) AND w.name = d.worker_name AND d.shutdown AND NOT w.terminating
        RETURNING d.worker_name
    )
    SELECT worker_name AS name, pg_notify('edge', 'desired ' || worker_name) FROM changed
    """
).bindparams(_NAMES)


def cancel_shutdown(names: Sequence[str]) -> Executable:
    """Take shutdown requests back that have not been acted on yet; returns (name) of those."""
    return _CANCEL_SHUTDOWN.bindparams(names=list(names))


_ADJUST = text(
    """
    WITH changed AS (
        UPDATE edge.worker_desired
        SET concurrency = CASE WHEN :set_concurrency THEN :concurrency ELSE concurrency END,
            queues_added = ARRAY(
                SELECT q FROM unnest(queues_added || :added) q WHERE NOT q = ANY (:removed) GROUP BY q ORDER BY q),
            queues_removed = ARRAY(
                SELECT q FROM unnest(queues_removed || :removed) q WHERE NOT q = ANY (:added) GROUP BY q ORDER BY q),
            version = version + 1, revision = DEFAULT
        WHERE worker_name = ANY (:names)
        RETURNING worker_name
    )
    SELECT worker_name AS name, pg_notify('edge', 'desired ' || worker_name) FROM changed
    """
).bindparams(
    _NAMES,
    bindparam("added", type_=ARRAY(Text)),
    bindparam("removed", type_=ARRAY(Text)),
    bindparam("concurrency", type_=Integer),
)


def adjust(
    names: Sequence[str],
    added: Sequence[str],
    removed: Sequence[str],
    concurrency: int | None,
    *,
    set_concurrency: bool,
) -> Executable:
    """Add and remove queues, and with `set_concurrency` override the concurrency (None: no override any more).

    A removed queue counts at the next claim; the rest when the session has heard of it. Returns (name).
    """
    return _ADJUST.bindparams(
        names=list(names),
        added=list(added),
        removed=list(removed),
        concurrency=concurrency,
        set_concurrency=set_concurrency,
    )


_REMOVE = text(
    """
    WITH gone AS (
        DELETE FROM edge.worker WHERE name = ANY (:names) AND (offline OR lost) RETURNING name, team
    ), lost AS (
        UPDATE edge.job j
        SET state = 'lost', finished_at = now(), workload = NULL, event_pending = true,
            error = 'edge worker ' || g.name || ' was removed from the fleet'
        FROM gone g WHERE j.worker_name = g.name AND j.state = 'running'
    ), buried AS (
        INSERT INTO edge.worker_removed (name, team) SELECT name, team FROM gone
        ON CONFLICT (name) DO UPDATE SET removed_at = now(), revision = DEFAULT, team = excluded.team
    ), revoked AS (
        UPDATE edge.credential SET revoked_at = now()
        WHERE worker_name IN (SELECT name FROM gone) AND revoked_at IS NULL
        RETURNING id
    ), hinted AS (
        SELECT pg_notify('edge', 'credential ' || id) FROM revoked
    )
    SELECT name, (SELECT count(*) FROM hinted) AS revoked FROM gone
    """
).bindparams(_NAMES)


def remove(names: Sequence[str]) -> Executable:
    """Remove workers that are offline or lost, and revoke their credentials: their names are free from then on.

    Returns (name, revoked: credentials over all of them). A live worker stays and is not returned.
    """
    return _REMOVE.bindparams(names=list(names))
