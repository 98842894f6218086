"""The database as the services see it: rows, transactions, and two kinds of failure.

One engine in autocommit mode: a lone statement is its own transaction in one round trip. Errors never carry parameters,
since those hold task tokens.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from sqlalchemy import Executable, Row
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from edge_api.errors import BadDataError, DatabaseAwayError, DatabaseRefusedError
from edge_api.metrics import Metrics
from edge_store.database import engine

STATEMENT_TIMEOUT_S: Final = 30.0
"""No statement here takes longer on a healthy database; a longer one is given up and tried again."""

CONNECT_ARGS: Final = {
    **engine.CONNECT_ARGS,
    # A database host that vanished without a word is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


class Database:
    """Runs the store's statements."""

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

    async def rows(self, statement: Executable, name: str) -> Sequence[Row[Any]]:
        """Run one statement in a transaction of its own and return its rows, if it has any.

        `name` labels its timing.

        Raises:
            DatabaseAwayError: try again later.
            DatabaseRefusedError: the statement is wrong.

        """
        began = time.perf_counter()
        with self._translated():
            async with asyncio.timeout(STATEMENT_TIMEOUT_S), self._pool.connect() as connection:
                result = await connection.execute(statement)
                found = result.all() if result.returns_rows else []
        self._metrics.statement_seconds.labels(name).observe(time.perf_counter() - began)
        return found

    @asynccontextmanager
    async def transaction(self, name: str) -> AsyncIterator[AsyncConnection]:
        """Run several statements in one transaction; errors as of `rows`."""
        began = time.perf_counter()
        with self._translated():
            async with asyncio.timeout(STATEMENT_TIMEOUT_S), self._pool.connect() as connection:
                await connection.execution_options(isolation_level="READ COMMITTED")
                async with connection.begin():
                    yield connection
        self._metrics.statement_seconds.labels(name).observe(time.perf_counter() - began)

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection outside the pool, for as long as the block; errors as of `rows`."""
        with self._translated():
            async with self._single.connect() as connection:
                yield connection

    async def close(self) -> None:
        """Close all idle connections."""
        await self._pool.dispose()
        await self._single.dispose()

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
