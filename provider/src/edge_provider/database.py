"""Is Airflow's database one that the schema `edge` can live in?"""

from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from edge_store.database import engine
from edge_store.schema import migrate


def check_kind(session: Session) -> None:
    """Check the server, not yet the schema.

    Raises:
        UnsupportedDatabaseError: not PostgreSQL 13 or newer.
        UnreachableDatabaseError: no connection.

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
        StoreError: as for `check_kind`; SchemaMismatchError where the schema is missing or of another version.

    """
    check_kind(session)
    migrate.check(session.connection())


def engine_of(session: Session) -> Engine:
    """Return the engine behind a session, also where the session sits on one connection."""
    return session.get_bind().engine
