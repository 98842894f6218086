"""Checks of Airflow's database: whether it can have the schema `edge`, and whether it has the right version."""

from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from edge_store.database import engine
from edge_store.schema import migrate


def check_kind(session: Session) -> None:
    """Check the server, not yet the schema.

    Raises:
        UnsupportedDatabaseError: It is not PostgreSQL 13 or newer.
        UnreachableDatabaseError: No connection could be made.

    """
    url = session.get_bind().engine.url
    engine.database_url(url.render_as_string(hide_password=False))
    try:
        engine.check_server_version(int(session.execute(text("SHOW server_version_num")).scalar_one()))
    except OperationalError as error:
        raise engine.unreachable(url, error) from error


def check(session: Session) -> None:
    """Check the server and the version of the schema.

    Raises:
        UnsupportedDatabaseError: It is not PostgreSQL 13 or newer.
        UnreachableDatabaseError: No connection could be made.
        SchemaMismatchError: The schema is missing or has another version.

    """
    check_kind(session)
    migrate.check(session.connection())


def engine_of(session: Session) -> Engine:
    """Return the engine of a session, also of a session that is bound to a connection."""
    return session.get_bind().engine
