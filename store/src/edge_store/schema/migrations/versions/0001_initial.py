"""Jobs, leases, logs, workers, credentials and join tokens."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "credential",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of 256 random bits"),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column(
            "worker_name", sa.String(length=253), nullable=True, comment="the one name a worker credential is good for"
        ),
        sa.Column("identity", sa.Uuid(), nullable=True, comment="the enrolment; rotation keeps it"),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=True, comment="queues it grants; NULL: any"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(role = 'worker') = (worker_name IS NOT NULL AND identity IS NOT NULL)",
            name=op.f("ck_credential_worker_role_has_a_worker"),
        ),
        sa.CheckConstraint("role IN ('worker', 'admin', 'read')", name=op.f("ck_credential_role_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential")),
        schema="edge",
    )
    op.create_index("ix_credential_worker_name", "credential", ["worker_name"], unique=False, schema="edge")
    op.create_table(
        "job",
        sa.Column("id", sa.Uuid(), nullable=False, comment="task instance id, or callback id"),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column(
            "rank",
            sa.SmallInteger(),
            server_default="1",
            nullable=False,
            comment="0 callbacks, 1 tasks: lower goes first",
        ),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("slots", sa.Integer(), server_default="1", nullable=False),
        sa.Column(
            "workload",
            sa.Text(),
            nullable=True,
            comment="Airflow's JSON with the task's token; cleared when the job finishes",
        ),
        sa.Column("log_path", sa.Text(), nullable=True),
        sa.Column("dag_id", sa.Text(), nullable=True),
        sa.Column("task_id", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("map_index", sa.Integer(), nullable=True),
        sa.Column("try_number", sa.Integer(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=False, comment="the scheduler that is told how the job ends"),
        sa.Column("event_pending", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("worker_name", sa.String(length=253), nullable=True),
        sa.Column("lease_id", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("leased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'leased') = (lease_expires_at IS NOT NULL)", name=op.f("ck_job_only_leased_expires")
        ),
        sa.CheckConstraint(
            "(state IN ('failed', 'lost', 'removed', 'succeeded')) = (finished_at IS NOT NULL)",
            name=op.f("ck_job_finished_has_time"),
        ),
        sa.CheckConstraint(
            "(state IN ('failed', 'lost', 'removed', 'succeeded')) = (workload IS NULL)",
            name=op.f("ck_job_finished_keeps_no_token"),
        ),
        sa.CheckConstraint(
            "NOT (state IN ('leased', 'running')) OR (lease_id IS NOT NULL AND worker_name IS NOT NULL)",
            name=op.f("ck_job_held_has_one_holder"),
        ),
        sa.CheckConstraint("kind IN ('task', 'callback')", name=op.f("ck_job_kind_known")),
        sa.CheckConstraint(
            "state <> 'queued' OR (lease_id IS NULL AND worker_name IS NULL)", name=op.f("ck_job_queued_has_no_holder")
        ),
        sa.CheckConstraint(
            "state IN ('failed', 'leased', 'lost', 'queued', 'removed', 'running', 'succeeded')",
            name=op.f("ck_job_state_known"),
        ),
        sa.CheckConstraint("length(queue) BETWEEN 1 AND 256", name=op.f("ck_job_queue_length")),
        sa.CheckConstraint("slots >= 1", name=op.f("ck_job_slots_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        schema="edge",
    )
    op.create_index(
        "ix_job_claim",
        "job",
        ["queue", "rank", sa.literal_column("priority DESC"), "queued_at"],
        unique=False,
        schema="edge",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_job_event", "job", ["owner"], unique=False, schema="edge", postgresql_where=sa.text("event_pending")
    )
    op.create_index(
        "ix_job_finished_at",
        "job",
        ["finished_at"],
        unique=False,
        schema="edge",
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_job_holder",
        "job",
        ["worker_name"],
        unique=False,
        schema="edge",
        postgresql_where=sa.text("state IN ('leased', 'running')"),
    )
    op.create_index(
        "ix_job_lease_expiry",
        "job",
        ["lease_expires_at"],
        unique=False,
        schema="edge",
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_index(
        "uq_job_lease_id",
        "job",
        ["lease_id"],
        unique=True,
        schema="edge",
        postgresql_where=sa.text("lease_id IS NOT NULL"),
    )
    op.create_table(
        "join_token",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of 256 random bits"),
        sa.Column("worker_pattern", sa.Text(), server_default="*", nullable=False, comment="glob of worker names"),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=True, comment="queues it grants; NULL: any"),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("uses_left", sa.Integer(), nullable=True, comment="NULL: unlimited"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("uses_left >= 0", name=op.f("ck_join_token_uses_left_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_join_token")),
        schema="edge",
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("worker_name", sa.String(length=253), nullable=False),
        sa.Column("log_path", sa.Text(), nullable=True),
        sa.Column(
            "log_bytes", sa.BigInteger(), server_default="0", nullable=False, comment="next byte of the log expected"
        ),
        sa.Column("granted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease")),
        schema="edge",
        comment="every claim ever granted; owns the log, which may arrive after the job has moved on",
    )
    op.create_index("ix_lease_granted_at", "lease", ["granted_at"], unique=False, schema="edge")
    op.create_index("ix_lease_job_id", "lease", ["job_id"], unique=False, schema="edge")
    op.create_index("ix_lease_log_path", "lease", ["log_path", "granted_at"], unique=False, schema="edge")
    op.create_table(
        "worker",
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("identity", sa.Uuid(), nullable=False, comment="the enrolment that owns the name"),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=False, comment="effective queues: what claims go by"),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=True, comment="the one session that may be given jobs"),
        sa.Column("instance", sa.Uuid(), nullable=True, comment="fresh for each start of the agent"),
        sa.Column(
            "cordon_reason",
            sa.Text(),
            nullable=True,
            comment="set by the server, for example a version outside the skew policy",
        ),
        sa.Column("initialised", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("jobs_active", sa.Integer(), server_default="0", nullable=False),
        sa.Column("free_slots", sa.Integer(), server_default="0", nullable=False),
        sa.Column("maintenance_acknowledged", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("terminating", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("offline", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "lost", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment="its jobs were declared lost"
        ),
        sa.Column(
            "versions", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column(
            "sysinfo", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("first_online", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_heartbeat", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("concurrency >= 1", name=op.f("ck_worker_concurrency_positive")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_worker")),
        schema="edge",
    )
    op.create_table(
        "log",
        sa.Column("lease_id", sa.Uuid(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False, comment="offset of the first byte"),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("start >= 0 AND length(data) > 0", name=op.f("ck_log_chunk_is_real")),
        sa.ForeignKeyConstraint(["lease_id"], ["edge.lease.id"], name=op.f("fk_log_lease_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("lease_id", "start", name=op.f("pk_log")),
        schema="edge",
    )
    op.create_table(
        "worker_desired",
        sa.Column("worker_name", sa.String(length=253), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("maintenance", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("maintenance_comment", sa.String(length=1024), nullable=True),
        sa.Column("maintenance_by", sa.Text(), nullable=True),
        sa.Column("maintenance_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("shutdown", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=True, comment="override; NULL: as the worker says"),
        sa.Column("queues_added", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
        sa.Column(
            "queues_removed", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False
        ),
        sa.CheckConstraint("concurrency >= 1", name=op.f("ck_worker_desired_concurrency_positive")),
        sa.ForeignKeyConstraint(
            ["worker_name"], ["edge.worker.name"], name=op.f("fk_worker_desired_worker_name"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("worker_name", name=op.f("pk_worker_desired")),
        schema="edge",
    )


def downgrade() -> None:
    for table in ("worker_desired", "log", "worker", "lease", "join_token", "job", "credential"):
        op.drop_table(table, schema="edge")
