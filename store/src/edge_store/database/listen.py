"""Listen for hints on a dedicated connection, with asyncio.

This is a module of its own since it needs SQLAlchemy's asyncio extension; sync callers import only `notify`.
"""

from collections.abc import AsyncGenerator

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from edge_store.database.engine import unreachable
from edge_store.database.notify import CHANNEL, Notification, parse


async def listen(connection: AsyncConnection, keepalive_s: float) -> AsyncGenerator[Notification | None, None]:
    """Yield hints as they arrive; None once listening has begun, and after each successful keep-alive.

    `connection` must be in autocommit mode and used for nothing else. A query every `keepalive_s` seconds detects a
    dead connection.

    Raises:
        UnreachableDatabaseError: The connection is lost; hints may have been missed.

    """
    try:
        await connection.execute(text(f"LISTEN {CHANNEL}"))
        raw = await connection.get_raw_connection()
        driver: psycopg.AsyncConnection[object] = raw.driver_connection  # type: ignore[assignment]
        yield None
        while True:
            async for message in driver.notifies(timeout=keepalive_s):
                if (hint := parse(message.payload)) is not None:
                    yield hint
            await connection.execute(text("SELECT 1"))
            yield None
    except (psycopg.Error, DBAPIError) as error:
        raise unreachable(connection.engine.url, error) from error
