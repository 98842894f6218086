"""Runs the store's statements on asyncio connections, with time limits and two kinds of failure.

One engine in autocommit mode: a lone statement is its own transaction in one round trip. Errors never carry parameters,
since those hold task tokens.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from edge_api.errors import BadDataError, DatabaseAwayError, DatabaseRefusedError
from edge_api.metrics import Metrics
from edge_store.database import engine
from edge_store.database.statement import Command, RowT, Statement, read
from edge_store.schema import migrate

STATEMENT_TIMEOUT_S: Final = 30.0
"""No statement here takes longer on a healthy database; one that does is cancelled and tried again."""

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

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise self._away(error) from error
        except (DataError, UnicodeEncodeError) as error:
            raise BadDataError(_first_line(error)) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise self._away(error) from error
            raise DatabaseRefusedError(_first_line(error)) from error
        except (PoolTimeoutError, TimeoutError) as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> DatabaseAwayError:
        state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
        # Class 40 (deadlock, serialization) is worth another try too, but it is no failure of the database.
        if not state.startswith("40"):
            self.last_failure = time.monotonic()
            self._metrics.database_failures.inc()
        return DatabaseAwayError(_first_line(error))


def _first_line(error: Exception) -> str:
    """Return the message without its DETAIL lines, which can hold row values."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
