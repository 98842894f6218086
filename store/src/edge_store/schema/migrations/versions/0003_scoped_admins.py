"""Credentials of role admin and read for a part of the fleet."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PATTERN = "worker_pattern ~ '^[A-Za-z0-9][A-Za-z0-9._-]*[*]?$'"
_TEAM = "of a worker; for other roles the only team that is seen, NULL: any"


def upgrade() -> None:
    pattern = sa.Column(
        "worker_pattern",
        sa.Text(),
        nullable=True,
        comment="the workers that role admin or read sees: PREFIX*, or a name; NULL: any",
    )
    op.add_column("credential", pattern, schema="edge")
    for name, condition in (
        ("worker_role_has_no_pattern", "role <> 'worker' OR worker_pattern IS NULL"),
        ("worker_pattern_is_a_prefix", _PATTERN),
    ):
        op.create_check_constraint(op.f(f"ck_credential_{name}"), "credential", condition, schema="edge")
    op.alter_column("credential", "team", comment=_TEAM, schema="edge")
    team = sa.Column("team", sa.Text(), nullable=True, comment="whose worker it was: only its followers are told")
    op.add_column("worker_removed", team, schema="edge")


def downgrade() -> None:
    # Without its bounds a credential would be good for the whole fleet.
    op.execute(
        "UPDATE edge.credential SET revoked_at = coalesce(revoked_at, now())"
        " WHERE role <> 'worker' AND (worker_pattern IS NOT NULL OR team IS NOT NULL OR queues IS NOT NULL)"
    )
    op.drop_column("worker_removed", "team", schema="edge")
    op.alter_column("credential", "team", comment=None, schema="edge")
    for name in ("worker_pattern_is_a_prefix", "worker_role_has_no_pattern"):
        op.drop_constraint(op.f(f"ck_credential_{name}"), "credential", schema="edge")
    op.drop_column("credential", "worker_pattern", schema="edge")
