"""Names of Connections and Variables that join tokens and credentials allow."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COLUMNS = {"connections": "Connections", "variables": "Variables"}


def upgrade() -> None:
    for table in ("join_token", "credential"):
        for name, kind in _COLUMNS.items():
            column: sa.Column[list[str]] = sa.Column(
                name,
                postgresql.ARRAY(sa.Text()),
                comment=f"{kind} that it lets tasks use: names, or prefixes and a star; NULL: any",
            )
            op.add_column(table, column, schema="edge")


def downgrade() -> None:
    for table in ("join_token", "credential"):
        # Without its lists it would allow any name.
        rows = sa.table(table, *(sa.column(name) for name in ("revoked_at", *_COLUMNS)), schema="edge")
        listed = sa.or_(*(rows.c[name].is_not(None) for name in _COLUMNS))
        op.execute(sa.update(rows).where(listed).values(revoked_at=sa.func.coalesce(rows.c.revoked_at, sa.func.now())))
        for name in reversed(_COLUMNS):
            op.drop_column(table, name, schema="edge")
