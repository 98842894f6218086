"""Statements on workers for people's side: maintenance, shutdown, queues and slots, removal.

Every request raises the version and the revision (see `edge_store.workers.changes`) of the desired row, and hints the
session that serves the worker. A request that is already fulfilled changes nothing. All take a list of names, so one
worker and a thousand are the same statement; the rows returned are the workers that changed.

Requests write `edge.worker_desired` only, agents' reports write `edge.worker` first, so the two never deadlock.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Boolean, Integer, Text

from edge_store.database.statement import Statement
from edge_store.outages import KEPT

_NAMES = bindparam("names", type_=ARRAY(Text))


class ChangedWorker(NamedTuple):
    """A worker for which a request was new."""

    name: str
    hints: int
    """Hints sent by the whole statement."""


_ENTER = text(
    """
    WITH changed AS (
        UPDATE edge.worker_desired
        SET maintenance = true, maintenance_comment = :comment, maintenance_by = :by, maintenance_at = now(),
            version = version + 1, revision = DEFAULT
        WHERE worker_name = ANY (:names)
          AND (NOT maintenance OR (maintenance_comment, maintenance_by) IS DISTINCT FROM (:comment, :by))
          AND (NOT :own_only OR NOT maintenance OR maintenance_by = :by)
        RETURNING worker_name
    ), hinted AS (
        SELECT pg_notify('edge', 'desired ' || worker_name) FROM changed
    )
    SELECT worker_name AS name, (SELECT count(*) FROM hinted) AS hints FROM changed
    """
).bindparams(
    _NAMES, bindparam("comment", type_=Text), bindparam("by", type_=Text), bindparam("own_only", type_=Boolean)
)


def enter_maintenance(
    names: Sequence[str], comment: str | None, by: str, *, own_only: bool = False
) -> Statement[ChangedWorker]:
    """Request maintenance, or change its comment.

    `own_only` leaves a maintenance alone that somebody else than `by` requested.
    """
    executable = _ENTER.bindparams(names=list(names), comment=comment, by=by, own_only=own_only)
    return Statement("enter_maintenance", executable, ChangedWorker)


_EXIT = text(
    """
    WITH changed AS (
        UPDATE edge.worker_desired
        SET maintenance = false, maintenance_comment = NULL, maintenance_by = NULL, maintenance_at = NULL,
            version = version + 1, revision = DEFAULT
        WHERE worker_name = ANY (:names) AND maintenance AND (:only_by IS NULL OR maintenance_by = :only_by)
        RETURNING worker_name
    ), hinted AS (
        SELECT pg_notify('edge', 'desired ' || worker_name) FROM changed
    )
    SELECT worker_name AS name, (SELECT count(*) FROM hinted) AS hints FROM changed
    """
).bindparams(_NAMES, bindparam("only_by", type_=Text))


def exit_maintenance(names: Sequence[str], *, only_by: str | None = None) -> Statement[ChangedWorker]:
    """End maintenance; with `only_by`, only where that one requested it."""
    return Statement("exit_maintenance", _EXIT.bindparams(names=list(names), only_by=only_by), ChangedWorker)


_SHUT_DOWN = text(
    """
    WITH changed AS (
        UPDATE edge.worker_desired d SET shutdown = true, version = d.version + 1, revision = DEFAULT
        FROM edge.worker w
        WHERE d.worker_name = ANY (:names) AND w.name = d.worker_name AND NOT w.offline AND NOT w.lost
          AND NOT d.shutdown
        RETURNING d.worker_name
    ), hinted AS (
        SELECT pg_notify('edge', 'desired ' || worker_name) FROM changed
    )
    SELECT worker_name AS name, (SELECT count(*) FROM hinted) AS hints FROM changed
    """
).bindparams(_NAMES)


def shut_down(names: Sequence[str]) -> Statement[ChangedWorker]:
    """Request that live workers drain and stop."""
    return Statement("shut_down", _SHUT_DOWN.bindparams(names=list(names)), ChangedWorker)


_CANCEL_SHUTDOWN = text(
    """
    WITH changed AS (
        UPDATE edge.worker_desired d SET shutdown = false, version = d.version + 1, revision = DEFAULT
        FROM edge.worker w
        WHERE d.worker_name = ANY (:names) AND w.name = d.worker_name AND d.shutdown AND NOT w.terminating
        RETURNING d.worker_name
    ), hinted AS (
        SELECT pg_notify('edge', 'desired ' || worker_name) FROM changed
    )
    SELECT worker_name AS name, (SELECT count(*) FROM hinted) AS hints FROM changed
    """
).bindparams(_NAMES)


def cancel_shutdown(names: Sequence[str]) -> Statement[ChangedWorker]:
    """Cancel shutdown requests on which the worker has not acted yet."""
    return Statement("cancel_shutdown", _CANCEL_SHUTDOWN.bindparams(names=list(names)), ChangedWorker)


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
    ), hinted AS (
        SELECT pg_notify('edge', 'desired ' || worker_name) FROM changed
    )
    SELECT worker_name AS name, (SELECT count(*) FROM hinted) AS hints FROM changed
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
) -> Statement[ChangedWorker]:
    """Add and remove queues, and with `set_concurrency` override the concurrency (None: remove the override).

    A removed queue counts at the next claim; the other changes once the session has read them.
    """
    executable = _ADJUST.bindparams(
        names=list(names),
        added=list(added),
        removed=list(removed),
        concurrency=concurrency,
        set_concurrency=set_concurrency,
    )
    return Statement("adjust", executable, ChangedWorker)


_REMOVE = text(
    f"""
    WITH held AS (
        SELECT id, worker_name FROM edge.job WHERE worker_name = ANY (:names) AND state = 'running'
    ), free AS (
        SELECT j.id FROM edge.job j JOIN held h ON h.id = j.id AND h.worker_name = j.worker_name
        WHERE j.state = 'running' FOR UPDATE OF j SKIP LOCKED
    ), gone AS (
        DELETE FROM edge.worker w WHERE name = ANY (:names) AND (offline OR lost) AND NOT EXISTS (
            SELECT 1 FROM held h WHERE h.worker_name = w.name AND h.id NOT IN (SELECT id FROM free)
        ) AND NOT EXISTS (SELECT 1 FROM edge.job j WHERE j.worker_name = w.name AND {KEPT})
        RETURNING name, team
    ), lost AS (
        UPDATE edge.job j
        SET state = 'lost', finished_at = now(), workload = NULL, execution_token = NULL, event_pending = true,
            error = 'edge worker ' || g.name || ' was removed from the fleet'
        FROM gone g, free WHERE j.id = free.id AND j.worker_name = g.name
    ), samples AS (
        DELETE FROM edge.worker_sample WHERE worker_name IN (SELECT name FROM gone)
    ), tombstones AS (
        INSERT INTO edge.worker_removed (name, team) SELECT name, team FROM gone
        ON CONFLICT (name) DO UPDATE SET removed_at = now(), revision = DEFAULT, team = excluded.team
    ), revoked AS (
        UPDATE edge.credential SET revoked_at = now()
        WHERE worker_name IN (SELECT name FROM gone) AND revoked_at IS NULL
        RETURNING id
    ), hinted AS (
        SELECT pg_notify('edge', 'credential ' || id) FROM revoked
    )
    SELECT name, (SELECT count(*) FROM hinted) AS hints FROM gone
    """  # noqa: S608  (constant texts)
).bindparams(_NAMES)


def remove(names: Sequence[str]) -> Statement[ChangedWorker]:
    """Remove workers that are offline or lost, and revoke their credentials; their names are free from then on.

    A live worker stays; so do one of which another transaction has locked a job, and one that is out of contact and
    whose tasks may still run.
    """
    return Statement("remove", _REMOVE.bindparams(names=list(names)), ChangedWorker)
