"""Runs this project's migrations in `airflow db migrate` and drops its tables in `airflow db reset`.

Airflow's base class expects an alembic.ini and lets alembic open connections by itself. `edge_store.schema.migrate`
owns all of that, and `edge-api db upgrade` uses it too, so every method here only delegates.
"""

from typing import Any

from airflow.utils.db_manager import BaseDBManager
from sqlalchemy import text

from edge_provider import database
from edge_store.errors import UnsupportedDatabaseError
from edge_store.schema import migrate
from edge_store.schema.tables import SCHEMA, VERSION_TABLE, metadata


class EdgeDBManager(BaseDBManager):  # type: ignore[misc]
    """The schema `edge` in Airflow's database."""

    metadata = metadata
    migration_dir = str(migrate.MIGRATIONS)
    alembic_file = ""
    version_table_name = VERSION_TABLE
    supports_table_dropping = True

    def get_current_revision(self) -> str | None:
        """Return the version of the schema, or None where there is none."""
        return migrate.current_revision(self.session.connection())

    def check_migration(self) -> bool:
        """Return whether the schema has the version that this code needs."""
        return self.get_current_revision() == migrate.head_revision()

    def initdb(self, use_migration_files: bool = False) -> None:
        """Create the schema, by its migrations."""
        self.upgradedb(use_migration_files=use_migration_files)

    def create_db_from_orm(self) -> None:
        """Create the schema, as `initdb` does."""
        self.upgradedb()

    def upgradedb(
        self,
        to_revision: str | None = None,
        from_revision: str | None = None,
        show_sql_only: bool = False,
        use_migration_files: bool = False,  # noqa: ARG002  (Airflow passes it; the migrations are always used)
    ) -> None:
        """Run the missing migrations.

        Raises:
            SystemExit: The database can't be used. The message says why and how to fix it.

        """
        _refuse_sql_only(show_sql_only or from_revision is not None)
        try:
            database.check_kind(self.session)
        except UnsupportedDatabaseError as error:
            raise SystemExit(f"The tables of Airflow Edge can't be created: {error}") from error
        with database.engine_of(self.session).begin() as connection:
            migrate.upgrade(connection, to_revision or "head")
        self.log.info("The schema %s has version %s", SCHEMA, to_revision or migrate.head_revision())

    def downgrade(self, to_revision: str, from_revision: str | None = None, show_sql_only: bool = False) -> None:
        """Undo migrations down to a revision."""
        _refuse_sql_only(show_sql_only or from_revision is not None)
        with database.engine_of(self.session).begin() as connection:
            migrate.downgrade(connection, to_revision)
        self.log.info("The schema %s has version %s", SCHEMA, to_revision)

    def drop_tables(self, connection: Any) -> None:
        """Drop the tables in the caller's transaction. Other objects in the schema stay."""
        metadata.drop_all(connection)
        connection.execute(text(f"DROP TABLE IF EXISTS {SCHEMA}.{VERSION_TABLE}"))


def _refuse_sql_only(asked: bool) -> None:
    if asked:
        raise SystemExit("Airflow Edge can't print its migrations as SQL. Run the command without --show-sql-only.")
