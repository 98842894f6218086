"""Listen for hints on a connection of its own, asyncio only.

It stands apart from `notify`, which sync callers use too: this module needs SQLAlchemy's asyncio extension.
"""

from collections.abc import AsyncGenerator

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from edge_store.database.engine import unreachable
from edge_store.database.notify import CHANNEL, Notification, parse


async def listen(connection: AsyncConnection, keepalive_s: float) -> AsyncGenerator[Notification | None, None]:
    """Yield hints as they come; None once listening is on, and whenever the connection was found alive.

    `connection` must be in autocommit mode and used for nothing else. A question every `keepalive_s` seconds finds a
    connection that died without a word.

    Raises:
        UnreachableDatabaseError: the connection is gone; hints may have been lost.

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
