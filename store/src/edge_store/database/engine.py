"""Connections to supported databases, and errors that say what to do about others."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import NullPool

from edge_store.database.statement import Statement, first
from edge_store.errors import PooledSessionError, UnreachableDatabaseError, UnsupportedDatabaseError

MIN_SERVER_VERSION: Final = 130000
"""PostgreSQL 13, in the notation of `server_version_num`."""

CONNECT_ARGS: Final[Mapping[str, Any]] = {
    "connect_timeout": 10,
    "application_name": "airflow-edge",
    # A standby, to which stale DNS may lead after a failover, is no database to work with.
    "target_session_attrs": "read-write",
}


def database_url(url: str) -> URL:
    """Return the URL with the driver that this package uses (psycopg 3, for sync and asyncio alike).

    Raises:
        UnsupportedDatabaseError: The URL is not a PostgreSQL URL.

    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UnsupportedDatabaseError(
            "The database URL can't be read. Give one like postgresql://user:password@host:5432/airflow."
        ) from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise UnsupportedDatabaseError(
            f"The database is {parsed.get_backend_name()}, but Airflow Edge needs PostgreSQL 13 or newer. "
            "Give a URL like postgresql://user:password@host:5432/airflow."
        )
    return parsed.set(drivername="postgresql+psycopg")


_POOLER_ROUNDS: Final = 3
"""One finds an idle pooler; more count with one that is busy."""


class ServerSession(NamedTuple):
    """The session of the server that ran a statement, among those of all servers."""

    pid: int
    started: datetime
    """When the server was started: a URL may name several servers."""


_SERVER_SESSION: Final = Statement(
    "server_session", text("SELECT pg_backend_pid() AS pid, pg_postmaster_start_time() AS started"), ServerSession
)


def make_engine(url: str) -> Engine:
    """Return a sync engine for commands such as migrations.

    Raises:
        UnsupportedDatabaseError: The URL is not a PostgreSQL URL.

    """
    # A command makes one or two connections and ends; a pool would only keep sockets open.
    return create_engine(database_url(url), connect_args=dict(CONNECT_ARGS), poolclass=NullPool)


def unreachable(url: URL, error: BaseException) -> UnreachableDatabaseError:
    """Return the error to raise when no connection could be made. It names the server and the database, no password."""
    where = f"{url.host or url.query.get('host') or 'localhost'}:{url.port or 5432}/{url.database}"
    reason = str(getattr(error, "orig", error)).strip().splitlines()
    return UnreachableDatabaseError(
        f"The database at {where} can't be reached ({reason[0] if reason else type(error).__name__}). "
        "Check that it runs, and the URL, user and password."
    )


def connect(engine: Engine) -> Connection:
    """Open a connection, and check the server's version.

    Raises:
        UnreachableDatabaseError: No connection could be made.
        UnsupportedDatabaseError: The server is older than PostgreSQL 13.

    """
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise unreachable(engine.url, error) from error
    try:
        check_server_version(int(connection.execute(text("SHOW server_version_num")).scalar_one()))
    except BaseException:
        connection.close()
        raise
    return connection


def check_own_sessions(url: str) -> None:
    """Check that each connection has a session of the server for itself, as without a pooler or in its session mode.

    A pooler in transaction mode gives a session to whichever connection runs a statement. So with two connections
    either both are seen in the same session, or one is seen in several. Nothing else shows that: a connection keeps its
    session for life, and no other one is in it meanwhile.

    Raises:
        PooledSessionError: A pooler shares sessions among connections.
        UnreachableDatabaseError: No connection could be made.

    """
    # In statement mode a pooler refuses transactions; and a prepared statement would be missing in the next session.
    options = {**CONNECT_ARGS, "autocommit": True, "prepare_threshold": None}
    # The look-up of the type hstore is a transaction.
    pooled = create_engine(database_url(url), connect_args=options, poolclass=NullPool, use_native_hstore=False)
    try:
        with pooled.connect() as one, pooled.connect() as other:
            for _ in range(_POOLER_ROUNDS):
                # A pooler hands out the session that it used last, or (round robin) the one that it used first.
                mine = {first(one, _SERVER_SESSION) for _ in range(2)}
                others = first(other, _SERVER_SESSION)
                mine.add(first(one, _SERVER_SESSION))
                if len(mine) > 1 or others in mine:
                    raise PooledSessionError
    except OperationalError as error:
        raise unreachable(pooled.url, error) from error


def check_server_version(version_num: int) -> None:
    """Check a `server_version_num`.

    Raises:
        UnsupportedDatabaseError: The server is older than PostgreSQL 13.

    """
    if version_num < MIN_SERVER_VERSION:
        raise UnsupportedDatabaseError(
            f"The database is PostgreSQL {version_num // 10000}, but Airflow Edge needs 13 or newer. "
            "Upgrade the server."
        )
