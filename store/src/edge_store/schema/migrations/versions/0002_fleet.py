"""The fleet: change stream, audit trail, credential scopes at claim time, rotation, v1 workers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REVISION_DEFAULT = sa.text("(pg_current_xact_id()::text)::bigint")


def _revision() -> sa.Column[int]:
    return sa.Column(
        "revision",
        sa.BigInteger(),
        server_default=_REVISION_DEFAULT,
        nullable=False,
        comment="transaction of the last change that people see",
    )


def upgrade() -> None:
    _upgrade_workers()
    for column in (
        sa.Column("label", sa.Text(), nullable=True, comment="who or what uses it"),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rotated_to", sa.Uuid(), nullable=True, comment="its successor"),
    ):
        op.add_column("credential", column, schema="edge")
    op.create_table(
        "platform",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_platform")),
        schema="edge",
        comment="what the parts of the platform tell each other, for example Airflow's version",
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column(
            "detail", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        schema="edge",
        comment="everything that was done or refused, written in the transaction that did it",
    )
    op.create_index("ix_audit_object", "audit", ["object", "id"], schema="edge")
    op.create_index("ix_audit_at", "audit", ["at"], schema="edge")


def _upgrade_workers() -> None:
    for column in (
        sa.Column(
            "credential_id",
            sa.Uuid(),
            nullable=True,
            comment="of the session: claims go by its scopes; NULL: a v1 worker",
        ),
        sa.Column("protocol", sa.SmallInteger(), server_default="2", nullable=False),
        sa.Column(
            "any_queue",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="a v1 worker without a list",
        ),
        sa.Column(
            "silent_after_s",
            sa.Integer(),
            nullable=True,
            comment="silence after which it is lost; NULL: as the platform's setting",
        ),
        _revision(),
    ):
        op.add_column("worker", column, schema="edge")
    op.create_check_constraint(op.f("ck_worker_protocol_known"), "worker", "protocol IN (1, 2)", schema="edge")
    op.add_column("worker_desired", _revision(), schema="edge")
    for table in ("worker", "worker_desired"):
        op.create_index(f"ix_{table}_revision", table, ["revision"], schema="edge")
    op.create_table(
        "worker_removed",
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        _revision(),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_worker_removed")),
        schema="edge",
        comment="tombstones of removed workers, for whoever follows the change stream",
    )


def downgrade() -> None:
    for table in ("audit", "platform", "worker_removed"):
        op.drop_table(table, schema="edge")
    for column in ("rotated_to", "rotated_at", "label"):
        op.drop_column("credential", column, schema="edge")
    op.drop_column("worker_desired", "revision", schema="edge")
    op.drop_constraint(op.f("ck_worker_protocol_known"), "worker", schema="edge")
    for column in ("revision", "silent_after_s", "any_queue", "protocol", "credential_id"):
        op.drop_column("worker", column, schema="edge")
