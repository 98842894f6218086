"""Statements on `edge.worker` (observed) and `edge.worker_desired` (wished for)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Executable, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Integer, Interval, Text

from edge_store.schema.tables import worker, worker_desired


@dataclass(frozen=True, slots=True)
class Registration:
    """A worker says hello."""

    name: str
    identity: UUID
    team: str | None
    queues: Sequence[str]
    """Effective queues."""
    concurrency: int
    """Effective concurrency."""
    session_id: UUID
    instance: UUID
    cordon_reason: str | None
    versions: dict[str, Any]
    credential_id: UUID | None = None
    """Claims go by its scopes; None: a v1 worker, which has no credential."""
    protocol: int = 2
    any_queue: bool = False
    """Serves every queue (a v1 worker that names none); `queues` does not count then."""
    silent_after_s: int | None = None
    """Silence after which it is lost; None: the window of the platform."""


_REGISTER = text(
    """
    WITH registered AS (
        INSERT INTO edge.worker AS w (name, identity, team, queues, concurrency, session_id, instance, cordon_reason,
                                      versions, credential_id, protocol, any_queue, silent_after_s, initialised)
        VALUES (:name, CAST(:identity AS uuid), :team, :queues, :concurrency, CAST(:session_id AS uuid),
                CAST(:instance AS uuid), :cordon_reason, CAST(:versions AS jsonb), CAST(:credential_id AS uuid),
                :protocol, :any_queue, :silent_after_s, false)
        ON CONFLICT (name) DO UPDATE SET
            identity = excluded.identity, team = excluded.team, queues = excluded.queues,
            concurrency = excluded.concurrency, session_id = excluded.session_id, instance = excluded.instance,
            cordon_reason = excluded.cordon_reason, versions = excluded.versions,
            credential_id = excluded.credential_id, protocol = excluded.protocol, any_queue = excluded.any_queue,
            silent_after_s = excluded.silent_after_s, initialised = false, terminating = false, offline = false,
            lost = false, last_heartbeat = now(), revision = excluded.revision
        WHERE w.identity = excluded.identity OR w.offline
           OR w.last_heartbeat < now() - coalesce(make_interval(secs => w.silent_after_s), :window)
        RETURNING w.name, w.session_id
    ), hinted AS (
        SELECT pg_notify('edge', 'session ' || name || ' ' || session_id) FROM registered
    ), wished AS (
        INSERT INTO edge.worker_desired (worker_name) SELECT name FROM registered ON CONFLICT DO NOTHING
    )
    SELECT name, (SELECT count(*) FROM hinted) AS hints FROM registered
    """
).bindparams(
    bindparam("queues", type_=ARRAY(Text)),
    bindparam("team", type_=Text),
    bindparam("cordon_reason", type_=Text),
    bindparam("credential_id", type_=Text),
    bindparam("silent_after_s", type_=Integer),
    bindparam("window", type_=Interval),
)


def register(new: Registration, window: timedelta) -> Executable:
    """Take over the worker's row for a new session and return (name, hints); no row: the name is another's.

    The same identity takes over at once. Another identity gets the name only if its owner said good-bye or was silent
    for `window`. A hint tells replicas to drop an older session.
    """
    return _REGISTER.bindparams(
        name=new.name,
        identity=str(new.identity),
        team=new.team,
        queues=list(new.queues),
        concurrency=new.concurrency,
        session_id=str(new.session_id),
        instance=str(new.instance),
        cordon_reason=new.cordon_reason,
        versions=json.dumps(new.versions),
        credential_id=None if new.credential_id is None else str(new.credential_id),
        protocol=new.protocol,
        any_queue=new.any_queue,
        silent_after_s=new.silent_after_s,
        window=window,
    )


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat told."""

    name: str
    session_id: UUID
    jobs_active: int
    free_slots: int
    maintenance_acknowledged: bool
    terminating: bool
    sysinfo: dict[str, Any]
    initialised: bool = True
    """False while the worker cannot start tasks yet."""
    worked: bool = False
    """Its leases have changed since the heartbeat before, so what is shown of it is news even if the rest is not."""


_HEARTBEATS = text(
    """
    WITH beaten AS (
        UPDATE edge.worker w
        SET last_heartbeat = now(), initialised = b.initialised, jobs_active = b.active, free_slots = b.free,
            maintenance_acknowledged = b.acknowledged, terminating = b.terminating,
            sysinfo = CAST(b.sysinfo AS jsonb), lost = false,
            revision = CASE
                WHEN NOT w.lost AND NOT b.worked
                    AND (w.jobs_active, w.free_slots, w.maintenance_acknowledged, w.terminating, w.initialised)
                        = (b.active, b.free, b.acknowledged, b.terminating, b.initialised)
                THEN w.revision ELSE CAST(CAST(pg_current_xact_id() AS text) AS bigint) END
        FROM unnest(:names, CAST(:sessions AS uuid[]), CAST(:active AS int[]), CAST(:free AS int[]),
                    CAST(:acknowledged AS bool[]), CAST(:terminating AS bool[]), CAST(:initialised AS bool[]),
                    CAST(:worked AS bool[]), :sysinfo)
            AS b(name, session_id, active, free, acknowledged, terminating, initialised, worked, sysinfo)
        WHERE w.name = b.name AND w.session_id = b.session_id
        RETURNING w.name, w.revision = CAST(CAST(pg_current_xact_id() AS text) AS bigint) AS news
    )
    -- PostgreSQL sends equal hints of one transaction once.
    SELECT name, CASE WHEN news THEN pg_notify('edge', 'fleet changed') END FROM beaten
    """
).bindparams(bindparam("names", type_=ARRAY(Text)), bindparam("sysinfo", type_=ARRAY(Text)))


def heartbeats(beats: Sequence[Beat]) -> Executable:
    """Write all heartbeats heard, at most one per worker, and return (name) of the sessions that are current."""
    return _HEARTBEATS.bindparams(
        names=[beat.name for beat in beats],
        sessions=[str(beat.session_id) for beat in beats],
        active=[str(beat.jobs_active) for beat in beats],
        free=[str(beat.free_slots) for beat in beats],
        acknowledged=[str(beat.maintenance_acknowledged) for beat in beats],
        terminating=[str(beat.terminating) for beat in beats],
        initialised=[str(beat.initialised) for beat in beats],
        worked=[str(beat.worked) for beat in beats],
        sysinfo=[json.dumps(beat.sysinfo) for beat in beats],
    )


def say_bye(name: str, session_id: UUID) -> Executable:
    """Note a clean shutdown. A shutdown request is fulfilled by it; maintenance stays wished for."""
    return text(
        """
        WITH gone AS (
            UPDATE edge.worker SET offline = true, terminating = false, jobs_active = 0, free_slots = 0,
                session_id = NULL, last_heartbeat = now(), revision = DEFAULT
            WHERE name = :name AND session_id = CAST(:session_id AS uuid)
            RETURNING name
        )
        UPDATE edge.worker_desired SET shutdown = false, version = version + 1, revision = DEFAULT
        WHERE shutdown AND worker_name IN (SELECT name FROM gone)
        """
    ).bindparams(name=name, session_id=str(session_id))


_LOSE_SILENT = text(
    """
    WITH silent AS (
        SELECT name, last_heartbeat FROM edge.worker
        WHERE NOT lost AND NOT offline
          AND last_heartbeat < now() - coalesce(make_interval(secs => silent_after_s), :window)
        FOR UPDATE SKIP LOCKED
    ), marked AS (
        UPDATE edge.worker w SET lost = true, jobs_active = 0, free_slots = 0, revision = DEFAULT
        FROM silent s WHERE w.name = s.name
        RETURNING w.name, w.last_heartbeat
    ), lost AS (
        UPDATE edge.job j
        SET state = 'lost', finished_at = now(), workload = NULL, event_pending = true,
            error = 'edge worker ' || m.name || ' lost at '
                    || to_char(m.last_heartbeat AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        FROM marked m WHERE j.worker_name = m.name AND j.state = 'running'
        RETURNING j.id, j.worker_name
    )
    SELECT m.name, count(l.id) AS jobs FROM marked m LEFT JOIN lost l ON l.worker_name = m.name GROUP BY m.name
    """
).bindparams(bindparam("window", type_=Interval))


def lose_silent(window: timedelta) -> Executable:
    """Declare workers unknown that were silent for `window`, and their running jobs lost (design: I-4).

    Returns (name, jobs: how many were lost) once per worker. Claims it never accepted go back by their own timeout.
    """
    return _LOSE_SILENT.bindparams(window=window)


def get(name: str) -> Executable:
    """Return the worker's row joined with what is desired of it, or nothing."""
    return (
        select(worker, *(column for column in worker_desired.c if column.name not in ("worker_name", "concurrency")))
        .add_columns(worker_desired.c.concurrency.label("concurrency_override"))
        .join(worker_desired, worker_desired.c.worker_name == worker.c.name)
        .where(worker.c.name == name)
    )


def desired_of(names: Sequence[str]) -> Executable:
    """Return what is desired of workers: all columns of `edge.worker_desired`."""
    return select(worker_desired).where(worker_desired.c.worker_name.in_(list(names)))


def standing(names: Sequence[str]) -> Executable:
    """Return (name, session_id, version of what is desired) of workers: what a replica compares its sessions with."""
    return (
        select(worker.c.name, worker.c.session_id, worker_desired.c.version)
        .join(worker_desired, worker_desired.c.worker_name == worker.c.name)
        .where(worker.c.name.in_(list(names)))
    )


def set_effective(name: str, session_id: UUID, queues: Sequence[str], concurrency: int) -> Executable:
    """Note the effective queues and slots of a session after a change of what is desired."""
    return (
        update(worker)
        .where(worker.c.name == name, worker.c.session_id == session_id)
        .values(queues=list(queues), concurrency=concurrency, revision=text("DEFAULT"))
    )


def name_owner(name: str, window: timedelta) -> Executable:
    """Return (identity, live) of the name: live unless its owner said good-bye or was silent for `window`."""
    silence = func.coalesce(func.make_interval(0, 0, 0, 0, 0, 0, worker.c.silent_after_s), window)
    return select(
        worker.c.identity, (~worker.c.offline & (worker.c.last_heartbeat >= func.now() - silence)).label("live")
    ).where(worker.c.name == name)


def fleet() -> Executable:
    """Return what `worker_state` needs of every worker, and its room: for metrics and lists."""
    return select(
        worker.c.name,
        worker.c.queues,
        worker.c.any_queue,
        worker.c.silent_after_s,
        worker.c.concurrency,
        worker.c.free_slots,
        worker.c.jobs_active,
        worker.c.initialised,
        worker.c.maintenance_acknowledged,
        worker.c.terminating,
        worker.c.offline,
        worker.c.last_heartbeat,
        worker_desired.c.maintenance,
        worker_desired.c.shutdown,
    ).join(worker_desired, worker_desired.c.worker_name == worker.c.name)


_RECORDON = text(
    """
    UPDATE edge.worker w SET cordon_reason = r.reason, revision = DEFAULT
    FROM unnest(:names, :reasons) AS r(name, reason)
    WHERE w.name = r.name AND w.cordon_reason IS DISTINCT FROM r.reason
    RETURNING w.name
    """
).bindparams(bindparam("names", type_=ARRAY(Text)), bindparam("reasons", type_=ARRAY(Text)))


def recordon(reasons: dict[str, str | None]) -> Executable:
    """Write for each worker why it is cordoned (None: it is not), and return (name) of those that changed."""
    return _RECORDON.bindparams(names=list(reasons), reasons=list(reasons.values()))


def versions_of_all() -> Executable:
    """Return (name, versions, protocol, cordon_reason) of every worker."""
    return select(worker.c.name, worker.c.versions, worker.c.protocol, worker.c.cordon_reason)
