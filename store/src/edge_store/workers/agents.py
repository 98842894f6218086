"""Statements on workers for their agents' side: register, heartbeats, disconnect, silence, and the desired state."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Integer, Interval, Text

from edge_store.database.arrays import texts
from edge_store.database.statement import Command, Statement
from edge_store.outages import KEPT, database_was_well
from edge_store.schema import platform
from edge_store.schema.tables import worker, worker_desired


@dataclass(frozen=True, slots=True)
class Registration:
    """A worker's row at the start of a session."""

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
    """Serves every queue (a v1 worker that names none); `queues` is ignored then."""
    silent_after_s: int | None = None
    """Silence after which it is lost; None: the window of the platform."""
    outage_tolerance_s: int = 0
    """Seconds without contact that its running tasks survive; 0: none."""
    kill_grace_s: int = 0
    """Seconds that it may take to end a task."""


class RegisteredWorker(NamedTuple):
    """A worker whose row belongs to a new session."""

    name: str
    hints: int


_REGISTER = text(
    f"""
    WITH registered AS (
        INSERT INTO edge.worker AS w (name, identity, team, queues, concurrency, session_id, instance, cordon_reason,
                                      versions, credential_id, protocol, any_queue, silent_after_s,
                                      outage_tolerance_s, kill_grace_s, initialised)
        VALUES (:name, CAST(:identity AS uuid), :team, :queues, :concurrency, CAST(:session_id AS uuid),
                CAST(:instance AS uuid), :cordon_reason, CAST(:versions AS jsonb), CAST(:credential_id AS uuid),
                :protocol, :any_queue, :silent_after_s, :outage_tolerance_s, :kill_grace_s, false)
        ON CONFLICT (name) DO UPDATE SET
            identity = excluded.identity, team = excluded.team, queues = excluded.queues,
            concurrency = excluded.concurrency, session_id = excluded.session_id, instance = excluded.instance,
            cordon_reason = excluded.cordon_reason, versions = excluded.versions,
            credential_id = excluded.credential_id, protocol = excluded.protocol, any_queue = excluded.any_queue,
            silent_after_s = excluded.silent_after_s, outage_tolerance_s = excluded.outage_tolerance_s,
            kill_grace_s = excluded.kill_grace_s, initialised = false, terminating = false, offline = false,
            lost = false, last_heartbeat = now(), revision = excluded.revision
        WHERE w.identity = excluded.identity OR w.offline
           OR w.last_heartbeat < now() - coalesce(make_interval(secs => w.silent_after_s), :window)
              AND NOT EXISTS (SELECT 1 FROM edge.job j WHERE j.worker_name = w.name AND {KEPT})
        RETURNING w.name, w.session_id, w.team, w.instance, w.versions, w.cordon_reason
    ), event AS (
        -- The worker's row as it was before this statement says whether its process is another one.
        INSERT INTO edge.worker_event (worker_name, team, kind, detail)
        SELECT r.name, r.team, 'connected', jsonb_build_object(
            'started', old.instance IS DISTINCT FROM r.instance, 'versions', r.versions, 'cordon', r.cordon_reason)
        FROM registered r LEFT JOIN edge.worker old ON old.name = r.name
    ), hinted AS (
        SELECT pg_notify('edge', 'session ' || name || ' ' || session_id) FROM registered
    ), desired AS (
        INSERT INTO edge.worker_desired (worker_name) SELECT name FROM registered ON CONFLICT DO NOTHING
    )
    SELECT name, (SELECT count(*) FROM hinted) AS hints FROM registered
    """  # noqa: S608  (constant texts)
).bindparams(
    bindparam("queues", type_=ARRAY(Text)),
    bindparam("team", type_=Text),
    bindparam("cordon_reason", type_=Text),
    bindparam("credential_id", type_=Text),
    bindparam("silent_after_s", type_=Integer),
    bindparam("window", type_=Interval),
)


def register(new: Registration, window: timedelta) -> Statement[RegisteredWorker]:
    """Take over the worker's row for a new session; returns no row if the name belongs to another live worker.

    The same identity takes over at once. Another identity gets the name only if its owner has disconnected, or was
    silent for `window` and has no task that may still run. A hint makes other replicas drop an older session.
    """
    executable = _REGISTER.bindparams(
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
        outage_tolerance_s=new.outage_tolerance_s,
        kill_grace_s=new.kill_grace_s,
        window=window,
    )
    return Statement("register", executable, RegisteredWorker)


@dataclass(frozen=True, slots=True)
class Sample:
    """How a worker's host is doing; None: it does not report that. The values must fit into their columns."""

    load1: float | None = None
    cpu_percent: float | None = None
    memory_percent: float | None = None
    disk_free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat."""

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
    """Its leases have changed since the heartbeat before, so followers of the change stream see something new."""
    sample: Sample | None = None
    """To be kept for an hour; once a minute."""


class CurrentWorker(NamedTuple):
    """A worker whose heartbeat was of its current session."""

    name: str
    hints: int
    """Hints sent by the whole statement."""


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
        RETURNING w.name, w.revision = CAST(CAST(pg_current_xact_id() AS text) AS bigint) AS changed, w.team,
            w.maintenance_acknowledged, w.jobs_active, w.terminating, w.concurrency, w.free_slots
    ), event AS (
        -- Few workers have changed; their rows as they were before this statement say how.
        INSERT INTO edge.worker_event (worker_name, team, kind)
        SELECT new.name, new.team, happened.kind
        FROM beaten new JOIN edge.worker old ON old.name = new.name CROSS JOIN LATERAL (VALUES
            ('recovered', old.lost),
            ('maintenance_reached', new.maintenance_acknowledged AND new.jobs_active = 0
                AND NOT (old.maintenance_acknowledged AND old.jobs_active = 0)),
            ('maintenance_left', old.maintenance_acknowledged AND NOT new.maintenance_acknowledged),
            ('terminating', new.terminating AND NOT old.terminating)
        ) AS happened(kind, true_now)
        WHERE new.changed AND happened.true_now
    ), sampled AS (
        INSERT INTO edge.worker_sample AS kept (worker_name, minute, at, slots, slots_free, jobs_active, load1,
                                                cpu_percent, memory_percent, disk_free_bytes)
        SELECT b.name, extract(minute FROM now() AT TIME ZONE 'UTC'), now(), b.concurrency, b.free_slots, b.jobs_active,
            s.load1, s.cpu, s.memory, s.disk
        FROM unnest(:sampled, CAST(:load1 AS real[]), CAST(:cpu AS real[]), CAST(:memory AS real[]),
                    CAST(:disk AS bigint[])) AS s(name, load1, cpu, memory, disk)
        JOIN beaten b ON b.name = s.name
        ON CONFLICT (worker_name, minute) DO UPDATE SET
            at = excluded.at, slots = excluded.slots, slots_free = excluded.slots_free,
            jobs_active = excluded.jobs_active, load1 = excluded.load1, cpu_percent = excluded.cpu_percent,
            memory_percent = excluded.memory_percent, disk_free_bytes = excluded.disk_free_bytes
    ), hinted AS (
        SELECT pg_notify('edge', 'fleet changed') FROM beaten WHERE changed LIMIT 1
    )
    SELECT name, (SELECT count(*) FROM hinted) AS hints FROM beaten
    """
).bindparams(
    bindparam("names", type_=ARRAY(Text)),
    bindparam("sysinfo", type_=ARRAY(Text)),
    bindparam("sampled", type_=ARRAY(Text)),
)


def heartbeats(beats: Sequence[Beat]) -> Statement[CurrentWorker]:
    """Write heartbeats, at most one per worker; one of a session that is not current returns no row.

    Their samples and what they show to have happened are written by the same statement.
    """
    sampled = {beat.name: beat.sample for beat in beats if beat.sample is not None}
    executable = _HEARTBEATS.bindparams(
        names=[beat.name for beat in beats],
        sessions=[str(beat.session_id) for beat in beats],
        active=[str(beat.jobs_active) for beat in beats],
        free=[str(beat.free_slots) for beat in beats],
        acknowledged=[str(beat.maintenance_acknowledged) for beat in beats],
        terminating=[str(beat.terminating) for beat in beats],
        initialised=[str(beat.initialised) for beat in beats],
        worked=[str(beat.worked) for beat in beats],
        sysinfo=[json.dumps(beat.sysinfo) for beat in beats],
        sampled=list(sampled),
        load1=texts(sample.load1 for sample in sampled.values()),
        cpu=texts(sample.cpu_percent for sample in sampled.values()),
        memory=texts(sample.memory_percent for sample in sampled.values()),
        disk=texts(sample.disk_free_bytes for sample in sampled.values()),
    )
    return Statement("heartbeats", executable, CurrentWorker)


_DISCONNECT = text(
    """
    WITH gone AS (
        UPDATE edge.worker SET offline = true, terminating = false, jobs_active = 0, free_slots = 0,
            session_id = NULL, last_heartbeat = now(), revision = DEFAULT
        WHERE name = :name AND session_id = CAST(:session_id AS uuid)
        RETURNING name, team
    ), event AS (
        INSERT INTO edge.worker_event (worker_name, team, kind, detail)
        SELECT g.name, g.team, 'disconnected', jsonb_build_object('requested', d.shutdown)
        FROM gone g JOIN edge.worker_desired d ON d.worker_name = g.name
    )
    UPDATE edge.worker_desired SET shutdown = false, version = version + 1, revision = DEFAULT
    WHERE shutdown AND worker_name IN (SELECT name FROM gone)
    """
)


def disconnect(name: str, session_id: UUID) -> Command:
    """Note a clean disconnect (bye). It fulfils a shutdown request; a maintenance request stays."""
    return Command("disconnect", _DISCONNECT.bindparams(name=name, session_id=str(session_id)))


class SilentWorker(NamedTuple):
    """A worker that was declared unknown."""

    name: str
    jobs: int
    """Jobs of it that were declared lost: those without an outage tolerance."""
    hints: int
    """Hints sent by the whole statement."""


_LOSE_SILENT = text(
    f"""
    WITH silent AS (
        SELECT name, last_heartbeat FROM edge.worker
        WHERE NOT lost AND NOT offline
          AND last_heartbeat < now() - coalesce(make_interval(secs => silent_after_s), :window)
          -- This statement may have waited for a stalled database, and run before the heartbeats that waited with it.
          AND {database_was_well("coalesce(make_interval(secs => silent_after_s), :window)")}
        FOR UPDATE SKIP LOCKED
    ), held AS (
        SELECT j.id, j.worker_name FROM edge.job j JOIN silent s ON j.worker_name = s.name
        WHERE j.state = 'running' AND j.outage_tolerance_s = 0
    ), free AS (
        SELECT j.id FROM edge.job j JOIN held h ON h.id = j.id AND h.worker_name = j.worker_name
        WHERE j.state = 'running' FOR UPDATE OF j SKIP LOCKED
    ), marked AS (
        UPDATE edge.worker w SET lost = true, free_slots = 0, revision = DEFAULT, jobs_active = (
            SELECT count(*) FROM edge.job j WHERE j.worker_name = w.name AND {KEPT})
        FROM silent s
        -- A worker of which a job is locked waits for the next pass.
        WHERE w.name = s.name AND NOT EXISTS (
            SELECT 1 FROM held h WHERE h.worker_name = s.name AND h.id NOT IN (SELECT id FROM free)
        )
        RETURNING w.name, w.last_heartbeat, w.team, w.jobs_active
    ), lost AS (
        UPDATE edge.job j
        SET state = 'lost', finished_at = now(), workload = NULL, execution_token = NULL, event_pending = true,
            error = 'edge worker ' || m.name || ' lost at '
                    || to_char(m.last_heartbeat AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        FROM marked m, free WHERE j.id = free.id AND j.worker_name = m.name
        RETURNING j.id, j.worker_name
    ), event AS (
        INSERT INTO edge.worker_event (worker_name, team, kind, detail)
        SELECT m.name, m.team, 'lost', jsonb_build_object('last_heartbeat', m.last_heartbeat, 'jobs_lost',
            (SELECT count(*) FROM lost l WHERE l.worker_name = m.name), 'jobs_kept', m.jobs_active)
        FROM marked m
    ), hinted AS (
        -- A worker that is connected after all stops the tasks.
        SELECT pg_notify('edge', 'cancel ' || worker_name) FROM (SELECT DISTINCT worker_name FROM lost) w
    )
    SELECT m.name, count(l.id) AS jobs, (SELECT count(*) FROM hinted) AS hints
    FROM marked m LEFT JOIN lost l ON l.worker_name = m.name GROUP BY m.name
    """  # noqa: S608  (constant texts)
).bindparams(bindparam("window", type_=Interval), bindparam("stall", type_=Interval), canary=platform.CANARY)


def lose_silent(window: timedelta, stall: timedelta) -> Statement[SilentWorker]:
    """Declare workers unknown that were silent for `window`, and their jobs without an outage tolerance lost.

    This is I-4 in docs/architecture.md; for the other jobs see `outages.give_up_overdue`.

    A stall of the database counts as a sign of life, since heartbeats wait for it as well: nothing happens while it
    took no write for `stall`, nor for one window afterwards.

    Claims that such a worker never accepted return to their queues by the accept timeout.
    """
    return Statement("lose_silent", _LOSE_SILENT.bindparams(window=window, stall=stall), SilentWorker)


class WorkerSession(NamedTuple):
    """A worker's row as its session needs it, with the desired state."""

    name: str
    identity: UUID
    team: str | None
    queues: list[str]
    concurrency: int
    session_id: UUID | None
    credential_id: UUID | None
    protocol: int
    any_queue: bool
    cordon_reason: str | None
    maintenance_acknowledged: bool
    terminating: bool
    versions: dict[str, Any]
    maintenance: bool
    maintenance_comment: str | None
    shutdown: bool
    queues_added: list[str]
    queues_removed: list[str]
    concurrency_override: int | None


def one_worker(name: str) -> Statement[WorkerSession]:
    """Return a worker, or nothing."""
    observed = (worker.c[field] for field in WorkerSession._fields if field in worker.c)
    desired = (
        worker_desired.c[field]
        for field in WorkerSession._fields
        if field in worker_desired.c and field not in worker.c
    )
    executable = (
        select(*observed, *desired, worker_desired.c.concurrency.label("concurrency_override"))
        .join(worker_desired, worker_desired.c.worker_name == worker.c.name)
        .where(worker.c.name == name)
    )
    return Statement("worker_session", executable, WorkerSession)


class DesiredRow(NamedTuple):
    """The desired state of a worker."""

    worker_name: str
    version: int
    maintenance: bool
    maintenance_comment: str | None
    maintenance_by: str | None
    shutdown: bool
    concurrency: int | None
    queues_added: list[str]
    queues_removed: list[str]


def desired_of(names: Sequence[str]) -> Statement[DesiredRow]:
    """Return the desired state of workers."""
    executable = select(*(worker_desired.c[field] for field in DesiredRow._fields))
    return Statement("desired", executable.where(worker_desired.c.worker_name.in_(list(names))), DesiredRow)


class Standing(NamedTuple):
    """The current session of a worker, and the version of its desired state."""

    name: str
    session_id: UUID | None
    version: int


def standing(names: Sequence[str]) -> Statement[Standing]:
    """Return the facts about workers that a replica compares its sessions with."""
    executable = (
        select(worker.c.name, worker.c.session_id, worker_desired.c.version)
        .join(worker_desired, worker_desired.c.worker_name == worker.c.name)
        .where(worker.c.name.in_(list(names)))
    )
    return Statement("standing", executable, Standing)


def set_effective(name: str, session_id: UUID, queues: Sequence[str], concurrency: int) -> Command:
    """Write the effective queues and slots of a session after its desired state has changed."""
    executable = (
        update(worker)
        .where(worker.c.name == name, worker.c.session_id == session_id)
        .values(queues=list(queues), concurrency=concurrency, revision=text("DEFAULT"))
    )
    return Command("set_effective", executable)


class NameOwner(NamedTuple):
    """The worker that has a name."""

    identity: UUID
    live: bool
    """False once it has disconnected, or was silent for its window and has no task that may still run."""


_NAME_OWNER = text(
    f"""
    SELECT identity, NOT offline AND (
        last_heartbeat >= now() - coalesce(make_interval(secs => silent_after_s), :window)
        OR EXISTS (SELECT 1 FROM edge.job j WHERE j.worker_name = w.name AND {KEPT})
    ) AS live
    FROM edge.worker w WHERE name = :name
    """  # noqa: S608  (constant texts)
).bindparams(bindparam("window", type_=Interval))


def name_owner(name: str, window: timedelta) -> Statement[NameOwner]:
    """Return the owner of a name, or nothing."""
    return Statement("name_owner", _NAME_OWNER.bindparams(name=name, window=window), NameOwner)


class WorkerVersions(NamedTuple):
    """The versions of a worker, and why it is cordoned."""

    name: str
    versions: dict[str, Any]
    protocol: int
    cordon_reason: str | None


def all_versions() -> Statement[WorkerVersions]:
    """Return the versions of every worker."""
    executable = select(*(worker.c[field] for field in WorkerVersions._fields))
    return Statement("worker_versions", executable, WorkerVersions)


class CordonedWorker(NamedTuple):
    """A worker whose cordon reason has changed."""

    name: str


_SET_CORDON_REASONS = text(
    """
    WITH changed AS (
        UPDATE edge.worker w SET cordon_reason = r.reason, revision = DEFAULT
        FROM unnest(:names, :reasons) AS r(name, reason)
        WHERE w.name = r.name AND w.cordon_reason IS DISTINCT FROM r.reason
        RETURNING w.name, w.team, w.cordon_reason
    ), event AS (
        INSERT INTO edge.worker_event (worker_name, team, kind, detail)
        SELECT name, team, CASE WHEN cordon_reason IS NULL THEN 'uncordoned' ELSE 'cordoned' END,
            jsonb_strip_nulls(jsonb_build_object('reason', cordon_reason))
        FROM changed
    )
    SELECT name FROM changed
    """
).bindparams(bindparam("names", type_=ARRAY(Text)), bindparam("reasons", type_=ARRAY(Text)))


def set_cordon_reasons(reasons: dict[str, str | None]) -> Statement[CordonedWorker]:
    """Write for each worker why it is cordoned (None: it is not); returns the workers that changed."""
    executable = _SET_CORDON_REASONS.bindparams(names=list(reasons), reasons=list(reasons.values()))
    return Statement("set_cordon_reasons", executable, CordonedWorker)
