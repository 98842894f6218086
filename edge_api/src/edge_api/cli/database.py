"""The database for commands. They need no running edge API and no credential: the database URL grants everything."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection

from edge_api.errors import EdgeApiError
from edge_api.settings import ApiSettings
from edge_store.database import engine
from edge_store.database.statement import run
from edge_store.identity import audit
from edge_store.schema import migrate

ACTOR: Final = "command line"
"""Actor of audit entries that commands write."""

ALL: Final = 1_000_000


class UnknownError(EdgeApiError):
    """The object that a command names does not exist."""


@contextmanager
def connected(settings: ApiSettings) -> Iterator[Connection]:
    """Open a connection to the database, whatever its schema; the caller commits.

    Raises:
        StoreError: there is no usable database.

    """
    with engine.connect(engine.make_engine(settings.database_url.get_secret_value())) as connection:
        yield connection


def check_for_service(settings: ApiSettings) -> None:
    """Check all that the service needs of the database.

    Raises:
        UnreachableDatabaseError: it can't be reached now.
        StoreError: it can't be used; the message says how to fix it.

    """
    engine.check_own_sessions(settings.database_url.get_secret_value())
    with connected(settings) as connection:
        migrate.check(connection)


@contextmanager
def transaction(settings: ApiSettings) -> Iterator[Connection]:
    """Open a transaction on a database whose schema is of this version.

    Raises:
        StoreError: there is none; the message says how to fix it.

    """
    with connected(settings) as connection:
        migrate.check(connection)
        yield connection
        connection.commit()


def record(connection: Connection, action: str, object_: str, detail: dict[str, Any] | None = None) -> None:
    """Write an audit entry."""
    run(connection, audit.add([audit.NewAudit(ACTOR, action, object_, detail or {})]))
