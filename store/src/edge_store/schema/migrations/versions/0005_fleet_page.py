"""Who is behind a call; events and samples of workers; indexes for lists of jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    on_behalf: sa.Column[bool] = sa.Column(
        "on_behalf",
        sa.Boolean(),
        server_default=sa.text("false"),
        nullable=False,
        comment="its calls may name the person who made them",
    )
    op.add_column("credential", on_behalf, schema="edge")
    op.create_check_constraint(
        op.f("ck_credential_worker_role_acts_for_itself"),
        "credential",
        "role <> 'worker' OR NOT on_behalf",
        schema="edge",
    )
    op.create_table(
        "worker_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("worker_name", sa.String(length=253), nullable=False),
        sa.Column("team", sa.Text(), nullable=True, comment="team of the worker at that time: only that team sees it"),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column(
            "detail", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker_event")),
        schema="edge",
        comment="changes of a worker's observed state; what people requested is in the audit trail",
    )
    op.create_index("ix_worker_event_worker_name", "worker_event", ["worker_name", "at"], schema="edge")
    op.create_index("ix_worker_event_at", "worker_event", ["at"], schema="edge")
    op.create_table(
        "worker_sample",
        sa.Column("worker_name", sa.String(length=253), nullable=False),
        sa.Column(
            "minute",
            sa.SmallInteger(),
            nullable=False,
            comment="of the hour: each sample replaces that of an hour ago",
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False, comment="effective number of slots"),
        sa.Column("slots_free", sa.Integer(), nullable=False),
        sa.Column("jobs_active", sa.Integer(), nullable=False),
        sa.Column("load1", sa.REAL(), nullable=True),
        sa.Column("cpu_percent", sa.REAL(), nullable=True),
        sa.Column("memory_percent", sa.REAL(), nullable=True),
        sa.Column("disk_free_bytes", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("minute BETWEEN 0 AND 59", name=op.f("ck_worker_sample_minute_of_an_hour")),
        sa.PrimaryKeyConstraint("worker_name", "minute", name=op.f("pk_worker_sample")),
        schema="edge",
        comment="samples of the last hour; unlogged, so a crash of the database empties it",
        prefixes=["UNLOGGED"],
    )
    # A page has room for the versions of the next hour, so that a sample that replaces one writes no index.
    op.execute("ALTER TABLE edge.worker_sample SET (fillfactor = 45)")
    op.create_index("ix_job_task", "job", ["dag_id", "run_id", "task_id"], schema="edge")
    op.create_index(
        "ix_job_worker",
        "job",
        ["worker_name", "id"],
        schema="edge",
        postgresql_where=sa.text("worker_name IS NOT NULL"),
    )


def downgrade() -> None:
    for index in ("ix_job_worker", "ix_job_task"):
        op.drop_index(index, "job", schema="edge")
    for table in ("worker_sample", "worker_event"):
        op.drop_table(table, schema="edge")
    op.drop_constraint(op.f("ck_credential_worker_role_acts_for_itself"), "credential", schema="edge")
    op.drop_column("credential", "on_behalf", schema="edge")
