"""Tables of schema `edge`. Their constraints hold the invariants, whatever code writes.

A worker's desired state and its observed state are two tables: claims lock the first (cordon, I-5 in
docs/architecture.md) while heartbeats update the second once a second.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL

from edge_protocol.job_state import FINISHED_STATES, HELD_STATES, JobState
from edge_protocol.limits import COMMENT_MAX, QUEUE_NAME_MAX, WORKER_NAME_MAX

SCHEMA = "edge"
VERSION_TABLE = "schema_version"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    },
)


def _in(column: str, states: frozenset[JobState] | type[JobState]) -> str:
    return f"{column} IN ({', '.join(sorted(repr(state.value) for state in states))})"


_HELD = _in("state", HELD_STATES)
_FINISHED = _in("state", FINISHED_STATES)
_NOW = text("now()")
_NAME = String(WORKER_NAME_MAX)


def _time(name: str, *, nullable: bool = True, default_now: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=_NOW if default_now else None)


def _names_allowed() -> list[Column[object]]:
    return [
        Column(
            name.lower(),
            ARRAY(Text),
            comment=f"{name} that it lets tasks use: names, or prefixes and a star; NULL: any",
        )
        for name in ("Connections", "Variables")
    ]


def _revision() -> Column[int]:
    return Column(
        "revision",
        BigInteger,
        nullable=False,
        server_default=text("(pg_current_xact_id()::text)::bigint"),
        comment="transaction of the last visible change",
    )


job = Table(
    "job",
    metadata,
    Column("id", Uuid, primary_key=True, comment="task instance id, or callback id"),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("queue", Text, nullable=False),
    Column("team", Text),
    Column("rank", SmallInteger, nullable=False, server_default="1", comment="0 callbacks, 1 tasks: lower goes first"),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("slots", Integer, nullable=False, server_default="1"),
    Column("workload", Text, comment="Airflow's JSON with the task's token; cleared when the job finishes"),
    Column("log_path", Text),
    Column("dag_id", Text),
    Column("task_id", Text),
    Column("run_id", Text),
    Column("map_index", Integer),
    Column("try_number", Integer),
    Column("owner", Text, nullable=False, comment="the scheduler that takes the job's events"),
    Column("event_pending", Boolean, nullable=False, server_default=text("false")),
    Column("worker_name", _NAME),
    Column("lease_id", Uuid),
    _time("lease_expires_at"),
    _time("queued_at", nullable=False, default_now=True),
    _time("leased_at"),
    _time("started_at"),
    _time("finished_at"),
    Column("exit_code", Integer),
    Column("error", Text),
    Column(
        "outage_tolerance_s",
        Integer,
        nullable=False,
        server_default="0",
        comment="seconds for which it is kept after its worker's last sign of life; fixed at the claim",
    ),
    Column("execution_token", Text, comment="a newer token of the task, from its scheduler"),
    Column(
        "token_wanted",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="its scheduler is asked for a new token",
    ),
    CheckConstraint("kind IN ('task', 'callback')", name="kind_known"),
    CheckConstraint(_in("state", JobState), name="state_known"),
    CheckConstraint("slots >= 1", name="slots_positive"),
    CheckConstraint(f"length(queue) BETWEEN 1 AND {QUEUE_NAME_MAX}", name="queue_length"),
    CheckConstraint(f"NOT ({_HELD}) OR (lease_id IS NOT NULL AND worker_name IS NOT NULL)", name="held_has_one_holder"),
    CheckConstraint("state <> 'queued' OR (lease_id IS NULL AND worker_name IS NULL)", name="queued_has_no_holder"),
    CheckConstraint("(state = 'leased') = (lease_expires_at IS NOT NULL)", name="only_leased_expires"),
    CheckConstraint(f"({_FINISHED}) = (finished_at IS NOT NULL)", name="finished_has_time"),
    CheckConstraint(f"({_FINISHED}) = (workload IS NULL)", name="finished_keeps_no_token"),
    CheckConstraint("execution_token IS NULL OR state = 'running'", name="only_running_has_a_new_token"),
    CheckConstraint("outage_tolerance_s >= 0", name="outage_tolerance_not_negative"),
    # In the order of claims; only queued rows.
    Index(
        "ix_job_claim", "queue", "rank", text("priority DESC"), "queued_at", postgresql_where=text("state = 'queued'")
    ),
    Index("uq_job_lease_id", "lease_id", unique=True, postgresql_where=text("lease_id IS NOT NULL")),
    Index("ix_job_holder", "worker_name", postgresql_where=text(_HELD)),
    Index("ix_job_lease_expiry", "lease_expires_at", postgresql_where=text("state = 'leased'")),
    # People look for a task instance or for the jobs of a worker; without these, each look reads the whole table.
    Index("ix_job_task", "dag_id", "run_id", "task_id"),
    Index("ix_job_worker", "worker_name", "id", postgresql_where=text("worker_name IS NOT NULL")),
    Index("ix_job_event", "owner", postgresql_where=text("event_pending")),
    Index("ix_job_token_wanted", "owner", postgresql_where=text("token_wanted")),
    Index("ix_job_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
)

lease = Table(
    "lease",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("job_id", Uuid, nullable=False),
    Column("worker_name", _NAME, nullable=False),
    Column("log_path", Text),
    Column("log_bytes", BigInteger, nullable=False, server_default="0", comment="offset of the next expected byte"),
    _time("granted_at", nullable=False, default_now=True),
    Index("ix_lease_log_path", "log_path", "granted_at"),
    Index("ix_lease_job_id", "job_id"),
    Index("ix_lease_granted_at", "granted_at"),
    comment="one row per claim; owns the log, which may arrive after the job has a new lease",
)

log = Table(
    "log",
    metadata,
    Column("lease_id", Uuid, ForeignKey("edge.lease.id", ondelete="CASCADE"), primary_key=True),
    Column("start", BigInteger, primary_key=True, comment="offset of the first byte"),
    Column("data", LargeBinary, nullable=False),
    CheckConstraint("start >= 0 AND length(data) > 0", name="chunk_not_empty"),
)

worker = Table(
    "worker",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("identity", Uuid, nullable=False, comment="the enrolment that owns the name"),
    Column("team", Text),
    Column("queues", ARRAY(Text), nullable=False, comment="effective queues, which claims must match"),
    Column("concurrency", Integer, nullable=False),
    Column("session_id", Uuid, comment="the one session that may be given jobs"),
    Column("instance", Uuid, comment="new for each start of the agent"),
    Column("credential_id", Uuid, comment="credential of the session, whose scopes limit claims; NULL: a v1 worker"),
    Column("protocol", SmallInteger, nullable=False, server_default="2"),
    Column(
        "any_queue",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="serves every queue: a v1 worker that names none",
    ),
    Column(
        "silent_after_s", Integer, comment="seconds of silence after which it is lost; NULL: the platform's setting"
    ),
    Column(
        "outage_tolerance_s",
        Integer,
        nullable=False,
        server_default="0",
        comment="seconds without contact that its running tasks survive; 0: none",
    ),
    Column(
        "kill_grace_s", Integer, nullable=False, server_default="0", comment="seconds that it may take to end a task"
    ),
    Column("cordon_reason", Text, comment="set by the server, for example a version outside the skew policy"),
    Column("initialised", Boolean, nullable=False, server_default=text("false")),
    Column("jobs_active", Integer, nullable=False, server_default="0"),
    Column("free_slots", Integer, nullable=False, server_default="0"),
    Column("maintenance_acknowledged", Boolean, nullable=False, server_default=text("false")),
    Column("terminating", Boolean, nullable=False, server_default=text("false")),
    Column("offline", Boolean, nullable=False, server_default=text("false")),
    Column("lost", Boolean, nullable=False, server_default=text("false"), comment="its jobs were declared lost"),
    Column("versions", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("sysinfo", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    _time("first_online", nullable=False, default_now=True),
    _time("last_heartbeat", nullable=False, default_now=True),
    _revision(),
    CheckConstraint("concurrency >= 1", name="concurrency_positive"),
    CheckConstraint("protocol IN (1, 2)", name="protocol_known"),
    CheckConstraint("outage_tolerance_s >= 0", name="outage_tolerance_not_negative"),
    Index("ix_worker_revision", "revision"),
)

worker_removed = Table(
    "worker_removed",
    metadata,
    Column("name", _NAME, primary_key=True),
    _time("removed_at", nullable=False, default_now=True),
    _revision(),
    Column("team", Text, comment="team of the worker: only followers of that team see the removal"),
    comment="tombstones of removed workers, for followers of the change stream",
)

worker_event = Table(
    "worker_event",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _time("at", nullable=False, default_now=True),
    Column("worker_name", _NAME, nullable=False),
    Column("team", Text, comment="team of the worker at that time: only that team sees it"),
    Column("kind", String(32), nullable=False),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Index("ix_worker_event_worker_name", "worker_name", "at"),
    Index("ix_worker_event_at", "at"),
    comment="changes of a worker's observed state; what people requested is in the audit trail",
)

worker_sample = Table(
    "worker_sample",
    metadata,
    Column("worker_name", _NAME, primary_key=True),
    Column("minute", SmallInteger, primary_key=True, comment="of the hour: each sample replaces that of an hour ago"),
    _time("at", nullable=False),
    Column("slots", Integer, nullable=False, comment="effective number of slots"),
    Column("slots_free", Integer, nullable=False),
    Column("jobs_active", Integer, nullable=False),
    Column("load1", REAL),
    Column("cpu_percent", REAL),
    Column("memory_percent", REAL),
    Column("disk_free_bytes", BigInteger),
    CheckConstraint("minute BETWEEN 0 AND 59", name="minute_of_an_hour"),
    comment="samples of the last hour; unlogged, so a crash of the database empties it",
    prefixes=["UNLOGGED"],
)

worker_desired = Table(
    "worker_desired",
    metadata,
    Column("worker_name", _NAME, ForeignKey("edge.worker.name", ondelete="CASCADE"), primary_key=True),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("maintenance", Boolean, nullable=False, server_default=text("false")),
    Column("maintenance_comment", String(COMMENT_MAX)),
    Column("maintenance_by", Text),
    _time("maintenance_at"),
    Column("shutdown", Boolean, nullable=False, server_default=text("false")),
    Column("concurrency", Integer, comment="override; NULL: the worker's own setting"),
    Column("queues_added", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("queues_removed", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    _revision(),
    CheckConstraint("concurrency >= 1", name="concurrency_positive"),
    Index("ix_worker_desired_revision", "revision"),
)

credential = Table(
    "credential",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False, comment="SHA-256 of 256 random bits"),
    Column("role", String(16), nullable=False),
    Column("worker_name", _NAME, comment="the only worker name that the credential is valid for"),
    Column("identity", Uuid, comment="the enrolment; rotation keeps it"),
    Column("team", Text, comment="team of the worker; for other roles the only visible team, NULL: any"),
    Column("queues", ARRAY(Text), comment="queues it grants; NULL: any"),
    _time("created_at", nullable=False, default_now=True),
    _time("expires_at", nullable=False),
    _time("revoked_at"),
    Column("label", Text, comment="who or what uses it"),
    _time("rotated_at"),
    Column("rotated_to", Uuid, comment="its successor"),
    Column(
        "worker_pattern", Text, comment="the only workers visible to role admin or read: PREFIX* or a name; NULL: any"
    ),
    Column(
        "on_behalf",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="its calls may name the person who made them",
    ),
    *_names_allowed(),
    CheckConstraint("role IN ('worker', 'admin', 'read')", name="role_known"),
    CheckConstraint(
        "(role = 'worker') = (worker_name IS NOT NULL AND identity IS NOT NULL)", name="worker_role_has_a_worker"
    ),
    CheckConstraint("role <> 'worker' OR worker_pattern IS NULL", name="worker_role_has_no_pattern"),
    CheckConstraint("role <> 'worker' OR NOT on_behalf", name="worker_role_acts_for_itself"),
    # `edge_store.identity.scopes` can compare only such patterns.
    CheckConstraint("worker_pattern ~ '^[A-Za-z0-9][A-Za-z0-9._-]*[*]?$'", name="worker_pattern_is_a_prefix"),
    Index("ix_credential_worker_name", "worker_name"),
)

join_token = Table(
    "join_token",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False, comment="SHA-256 of 256 random bits"),
    Column("worker_pattern", Text, nullable=False, server_default="*", comment="glob of worker names"),
    Column("queues", ARRAY(Text), comment="queues it grants; NULL: any"),
    Column("team", Text),
    Column("uses_left", Integer, comment="NULL: unlimited"),
    _time("created_at", nullable=False, default_now=True),
    _time("expires_at", nullable=False),
    _time("revoked_at"),
    *_names_allowed(),
    CheckConstraint("uses_left >= 0", name="uses_left_not_negative"),
)

platform = Table(
    "platform",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    _time("updated_at", nullable=False, default_now=True),
    comment="facts that one part of the platform publishes for the others, for example Airflow's version",
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _time("at", nullable=False, default_now=True),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Index("ix_audit_object", "object", "id"),
    Index("ix_audit_at", "at"),
    comment="everything that was done or refused, written in the same transaction",
)
