"""Migrate the schema `edge` to the version of this code, and check its version.

`airflow db migrate` (through the provider's DB manager) and `edge-api db upgrade` call the same functions.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from edge_store.errors import SchemaMismatchError
from edge_store.schema.tables import SCHEMA, VERSION_TABLE

MIGRATIONS = Path(__file__).parent / "migrations"

_LOCK_KEY = 0x65646765
"""Advisory lock ("edge"), so that concurrent upgrades run one after the other."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head_revision() -> str:
    """Return the schema version that this code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:  # the package was installed without its migrations
        raise SchemaMismatchError("The edge_store package has no migrations. Install it again.")
    return head


def current_revision(connection: Connection) -> str | None:
    """Return the schema version of the database, or None where there is none."""
    context = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "version_table_schema": SCHEMA}
    )
    return context.get_current_revision()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the missing migrations in the connection's transaction; the caller commits."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)").bindparams(key=_LOCK_KEY))
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    command.upgrade(_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Undo migrations down to `revision` ("base": all) in the connection's transaction; the caller commits."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)").bindparams(key=_LOCK_KEY))
    command.downgrade(_config(connection), revision)


def check(connection: Connection) -> None:
    """Check that the database has the schema version of this code.

    Raises:
        SchemaMismatchError: It has another one or none. The message names the command that fixes it.

    """
    current, head = current_revision(connection), head_revision()
    if current == head:
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if current is not None and current not in known:
        raise SchemaMismatchError(
            f"The database has schema version {current}, which this version of Airflow Edge does not know: it is older "
            "than the database. Upgrade this program to the version that migrated the database."
        )
    raise SchemaMismatchError(
        f"The database has schema version {current or 'none'}, but this program needs {head}. "
        "Run `airflow db migrate` or `edge-api db upgrade`."
    )
