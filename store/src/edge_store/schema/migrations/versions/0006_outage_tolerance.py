"""Outage tolerance: jobs stay with a worker that is out of contact, and get tokens meanwhile."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "worker",
        sa.Column(
            "outage_tolerance_s",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="seconds without contact that its running tasks survive; 0: none",
        ),
        schema="edge",
    )
    op.add_column(
        "worker",
        sa.Column(
            "kill_grace_s",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="seconds that it may take to end a task",
        ),
        schema="edge",
    )
    op.create_check_constraint(
        op.f("ck_worker_outage_tolerance_not_negative"), "worker", "outage_tolerance_s >= 0", schema="edge"
    )
    op.add_column(
        "job",
        sa.Column(
            "outage_tolerance_s",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="seconds for which it is kept after its worker's last sign of life; fixed at the claim",
        ),
        schema="edge",
    )
    op.add_column(
        "job",
        sa.Column("execution_token", sa.Text(), comment="a newer token of the task, from its scheduler"),
        schema="edge",
    )
    wanted: sa.Column[bool] = sa.Column(
        "token_wanted",
        sa.Boolean(),
        server_default=sa.text("false"),
        nullable=False,
        comment="its scheduler is asked for a new token",
    )
    op.add_column("job", wanted, schema="edge")
    op.create_check_constraint(
        op.f("ck_job_outage_tolerance_not_negative"), "job", "outage_tolerance_s >= 0", schema="edge"
    )
    op.create_check_constraint(
        op.f("ck_job_only_running_has_a_new_token"),
        "job",
        "execution_token IS NULL OR state = 'running'",
        schema="edge",
    )
    op.create_index("ix_job_token_wanted", "job", ["owner"], schema="edge", postgresql_where=sa.text("token_wanted"))


def downgrade() -> None:
    op.drop_index("ix_job_token_wanted", "job", schema="edge")
    op.drop_constraint(op.f("ck_job_only_running_has_a_new_token"), "job", schema="edge")
    op.drop_constraint(op.f("ck_job_outage_tolerance_not_negative"), "job", schema="edge")
    op.drop_constraint(op.f("ck_worker_outage_tolerance_not_negative"), "worker", schema="edge")
    for column in ("token_wanted", "execution_token", "outage_tolerance_s"):
        op.drop_column("job", column, schema="edge")
    for column in ("kill_grace_s", "outage_tolerance_s"):
        op.drop_column("worker", column, schema="edge")
