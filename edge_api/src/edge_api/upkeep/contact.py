"""Whether this replica reaches a database that takes writes, proven by one each second.

A replica that is cut off would keep its sockets open while its workers' heartbeats are not stored, and another replica
would declare them silent. So it ends its sessions in time for the workers to reach another one.
"""

import asyncio
import logging
import time
from datetime import timedelta
from typing import Final, NoReturn

from edge_api.database.pool import Database
from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_api.sessions.registry import Registry
from edge_store.schema import platform

PERIOD_S: Final = 1.0
STALL: Final = timedelta(seconds=5)
"""Without a write for so long the database has stalled: silence meanwhile proves nothing."""

log = logging.getLogger(__name__)


class DatabaseContact:
    """Writes the canary, and acts when it fails."""

    def __init__(self, database: Database, registry: Registry, heartbeat_interval_s: float) -> None:
        self._database = database
        self._registry = registry
        self._patience_s = max(heartbeat_interval_s, STALL.total_seconds())
        self._proven_at = time.monotonic()
        self.problem: str | None = None
        """Why the last write failed; None: it did not."""

    async def run(self) -> NoReturn:
        """Write forever."""
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(STALL.total_seconds()):
                    await self._database.run(platform.canary())
            except (DatabaseAwayError, DatabaseRefusedError) as error:
                self._failed(str(error), began)
            except TimeoutError:
                self._failed(f"it took no write within {STALL.total_seconds():g} s", began)
            else:
                self._succeeded()
            await asyncio.sleep(PERIOD_S)

    async def watch(self) -> NoReturn:
        """End the sessions once the database is out of reach for a heartbeat interval, forever."""
        while True:
            await asyncio.sleep(PERIOD_S)
            if time.monotonic() - self._proven_at > self._patience_s:
                self._registry.database_away = True
                for session in self._registry:
                    session.end_database_away()

    def _succeeded(self) -> None:
        if time.monotonic() - self._proven_at > STALL.total_seconds():
            # It may have stalled without an error.
            self._database.note_failure()
            log.warning("the database takes writes again")
        self._proven_at = time.monotonic()
        self._registry.database_away = False
        self.problem = None

    def _failed(self, reason: str, began: float) -> None:
        noted = self._database.last_failure
        if noted is None or noted < began:
            # The pool notes what is surely an outage; anything else is one if this write fails of it.
            self._database.note_failure()
        if self.problem is None:
            log.warning("the database is away: %s", reason)
        self.problem = reason
