"""Runs the store's statements on asyncio connections, with time limits and two kinds of failure.

One engine in autocommit mode: a lone statement is its own transaction in one round trip. Errors never carry parameters,
since those hold task tokens.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

import psycopg
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from edge_api.database.failures import Failure, classify
from edge_api.errors import BadDataError, DatabaseAwayError, DatabaseBrokenError, DatabaseRefusedError
from edge_api.metrics import Metrics
from edge_store.database import engine
from edge_store.database.statement import Command, RowT, Statement, read
from edge_store.errors import PooledSessionError
from edge_store.jobs import leases
from edge_store.schema import migrate

STATEMENT_TIMEOUT_S: Final = 30.0
"""No statement here takes longer on a healthy database; one that does is cancelled and tried again."""

IDLE_IN_TRANSACTION_S: Final = 10.0
"""A transaction waits for this process no longer; between two statements of one, it computes for milliseconds."""

LOCKED_PATIENCE_S: Final = 10.0
LOCKED_LOOK_S: Final = 0.1
"""How long, and how often, a statement is repeated that meets a job which somebody else has locked."""

LockableT = TypeVar("LockableT", leases.LostJob, leases.GivenUpJob)

CONNECT_ARGS: Final = {
    **engine.CONNECT_ARGS,
    # A database host that disappears without closing its connections is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


class Transaction:
    """Runs statements in one transaction, which is measured as a whole."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rows(self, statement: Statement[RowT]) -> list[RowT]:
        """Run a statement and return its rows."""
        return read(await self._connection.execute(statement.executable), statement)

    async def first(self, statement: Statement[RowT]) -> RowT | None:
        """Run a statement and return its first row, or None."""
        found = await self.rows(statement)
        return found[0] if found else None

    async def run(self, command: Command) -> None:
        """Run a command."""
        await self._connection.execute(command.executable)


class Database:
    """A pool of connections.

    Every method raises `DatabaseAwayError` where another try may succeed later, and `DatabaseRefusedError` where the
    statement or its data is wrong.
    """

    def __init__(self, url: str, pool_size: int, metrics: Metrics) -> None:
        place = engine.database_url(url)
        self._pool: AsyncEngine = create_async_engine(
            place,
            isolation_level="AUTOCOMMIT",
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=STATEMENT_TIMEOUT_S,
            connect_args=dict(CONNECT_ARGS),
            hide_parameters=True,
        )
        self._single: AsyncEngine = create_async_engine(
            place,
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
            connect_args=dict(CONNECT_ARGS),
            hide_parameters=True,
        )
        for each in (self._pool, self._single):
            event.listen(each.sync_engine, "handle_error", _drop_useless_connections)
            event.listen(each.sync_engine, "connect", _bound_transactions)
        self._metrics = metrics
        self.last_failure: float | None = None
        """When the database was last found away, by `time.monotonic`."""

    async def rows(self, statement: Statement[RowT]) -> list[RowT]:
        """Run one statement in a transaction of its own and return its rows."""
        async with self._measured(statement.name) as connection:
            return read(await connection.execute(statement.executable), statement)

    async def first(self, statement: Statement[RowT]) -> RowT | None:
        """Run one statement in a transaction of its own and return its first row, or None."""
        found = await self.rows(statement)
        return found[0] if found else None

    async def unlocked_rows(self, statement: Statement[LockableT]) -> list[LockableT]:
        """Run a statement that leaves locked jobs out until it has left out none; return all rows that it changed."""
        deadline = time.monotonic() + LOCKED_PATIENCE_S
        changed = []
        while True:
            found = await self.rows(statement)
            changed += [row for row in found if not row.locked]
            if not any(row.locked for row in found):
                return changed
            if time.monotonic() > deadline:
                raise DatabaseAwayError(f"{statement.name}: another transaction has locked a job")
            await asyncio.sleep(LOCKED_LOOK_S)

    async def run(self, command: Command) -> None:
        """Run one command in a transaction of its own."""
        async with self._measured(command.name) as connection:
            await connection.execute(command.executable)

    @asynccontextmanager
    async def transaction(self, name: str) -> AsyncIterator[Transaction]:
        """Run several statements in one transaction; `name` labels its timing."""
        async with self._measured(name) as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                yield Transaction(connection)

    async def schema_version(self) -> str | None:
        """Return the version of the schema, or None where there is none."""
        async with self._measured("schema_version") as connection:
            return await connection.run_sync(migrate.current_revision)

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection outside the pool, for as long as the block."""
        with self._translated():
            async with self._single.connect() as connection:
                yield connection

    async def close(self) -> None:
        """Close all idle connections."""
        await self._pool.dispose()
        await self._single.dispose()

    @asynccontextmanager
    async def _measured(self, name: str) -> AsyncIterator[AsyncConnection]:
        began = time.perf_counter()
        with self._translated():
            async with asyncio.timeout(STATEMENT_TIMEOUT_S), self._pool.connect() as connection:
                yield connection
        self._metrics.statement_seconds.labels(name).observe(time.perf_counter() - began)

    def note_failure(self) -> None:
        """Note that the database is away, or was until now."""
        self.last_failure = time.monotonic()
        self._metrics.database_failures.inc()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DataError, UnicodeEncodeError) as error:
            raise BadDataError(_first_line(error)) from error
        except DBAPIError as error:
            raise self._translate(error) from error
        except (PoolTimeoutError, TimeoutError) as error:
            self.note_failure()
            raise DatabaseAwayError(_first_line(error)) from error

    def _translate(self, error: DBAPIError) -> DatabaseAwayError | DatabaseRefusedError:
        sqlstate = _sqlstate(error)
        if sqlstate is None:
            # Not from the server: a lost connection, or a mistake that the driver found.
            lost = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
            failure = Failure.AWAY if lost else Failure.REFUSED
        else:
            failure = classify(sqlstate)
        match failure:
            case Failure.AWAY:
                self.note_failure()
                return DatabaseAwayError(_first_line(error))
            case Failure.AGAIN:
                return DatabaseAwayError(_first_line(error))
            case Failure.BROKEN:
                return DatabaseBrokenError(_first_line(error))
            case Failure.POOLER:
                return DatabaseRefusedError(str(PooledSessionError(f"{_first_line(error)}. ")))
            case Failure.REFUSED:
                return DatabaseRefusedError(_first_line(error))


def _bound_transactions(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Let the server end a transaction whose replica is cut off: its locks would stop all the others."""
    cursor = connection.cursor()
    cursor.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_S:g}s'")
    cursor.close()


def _drop_useless_connections(context: ExceptionContext) -> None:
    """Let SQLAlchemy drop this connection, and all that are older: the database may be another host by now."""
    error = context.original_exception
    if isinstance(error, psycopg.Error) and error.sqlstate is not None and classify(error.sqlstate) is Failure.AWAY:
        context.is_disconnect = True


def _sqlstate(error: DBAPIError) -> str | None:
    return error.orig.sqlstate if isinstance(error.orig, psycopg.Error) else None


def _first_line(error: Exception) -> str:
    """Return the message without its DETAIL lines, which can hold row values."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
