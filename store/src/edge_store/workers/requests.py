"""Statements on workers for people: what they see, and what they wish for.

Every request raises the version and the revision (see `edge_store.workers.changes`) of the desired row, and hints the
session that serves the worker. A request that is already fulfilled changes nothing. All take a list of names, so one
worker and a thousand are the same statement; the rows returned say for which it took effect.

Wishes touch `edge.worker_desired` only, what workers tell touches `edge.worker` first: so the two never wait for each
other in a circle.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable, Select, bindparam, func, select, text, union
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Boolean, Integer, Text

from edge_store.identity.scopes import WHOLE, Scope, of_workers
from edge_store.schema.tables import credential, job, worker, worker_desired

_NAMES = bindparam("names", type_=ARRAY(Text))


def _view() -> Select[Any]:
    used = (
        select(func.coalesce(func.sum(job.c.slots), 0))
        .where(job.c.worker_name == worker.c.name, job.c.state.in_(("leased", "running")))
        .scalar_subquery()
    )
    scope = select(credential.c.queues).where(credential.c.id == worker.c.credential_id).scalar_subquery()
    return select(
        *(column for column in worker.c if column.name != "revision"),
        *(column for column in worker_desired.c if column.name not in ("worker_name", "concurrency", "revision")),
        worker_desired.c.concurrency.label("concurrency_override"),
        func.greatest(worker.c.revision, worker_desired.c.revision).label("revision"),
        used.label("slots_used"),
        scope.label("granted_queues"),
        func.now().label("now"),
    ).join(worker_desired, worker_desired.c.worker_name == worker.c.name)


def views(
    after: str,
    limit: int,
    team: str | None = None,
    names: Sequence[str] | None = None,
    scope: Scope = WHOLE,
) -> Executable:
    """Return workers whose name comes after `after`, by name, at most `limit`.

    Rows: all columns of `edge.worker` and `edge.worker_desired` (its concurrency as `concurrency_override`),
    `slots_used` by unfinished leases, `granted_queues` (what the session's credential grants; NULL: any), `now`.
    """
    wanted = _view().where(worker.c.name.collate("C") > after).order_by(worker.c.name.collate("C")).limit(limit)
    wanted = wanted.where(of_workers(scope))
    if team is not None:
        wanted = wanted.where(worker.c.team == team)
    return wanted if names is None else wanted.where(worker.c.name.in_(list(names)))


def view(name: str, scope: Scope = WHOLE) -> Executable:
    """Return one worker, with columns as of `views`, or nothing: there is none in the scope."""
    return _view().where(worker.c.name == name, of_workers(scope))


def within(names: Sequence[str], scope: Scope) -> Executable:
    """Return which of these workers are in the scope: (name)."""
    return select(worker.c.name).where(worker.c.name.in_(list(names)), of_workers(scope))


def changed_since(revision: int) -> Executable:
    """Return the workers that changed in the transaction `revision` or later, with columns as of `views`."""
    changed = union(
        select(worker.c.name).where(worker.c.revision >= revision),
        select(worker_desired.c.worker_name).where(worker_desired.c.revision >= revision),
    )
    return _view().where(worker.c.name.in_(changed)).order_by(worker.c.name)


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


_RECORDON = text(
    """
    UPDATE edge.worker w SET cordon_reason = r.reason, revision = DEFAULT
    FROM unnest(:names, :reasons) AS r(name, reason)
    WHERE w.name = r.name AND w.cordon_reason IS DISTINCT FROM r.reason
    RETURNING w.name
    """
).bindparams(_NAMES, bindparam("reasons", type_=ARRAY(Text)))


def recordon(reasons: dict[str, str | None]) -> Executable:
    """Write for each worker why it is cordoned (None: it is not), and return (name) of those that changed."""
    return _RECORDON.bindparams(names=list(reasons), reasons=list(reasons.values()))


def versions_of_all() -> Executable:
    """Return (name, versions, protocol, cordon_reason) of every worker."""
    return select(worker.c.name, worker.c.versions, worker.c.protocol, worker.c.cordon_reason)
