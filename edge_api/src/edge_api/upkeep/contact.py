"""Whether this replica reaches a database that takes writes and has the right schema, proven each second.

A replica that is cut off would keep its sockets open while its workers' heartbeats are not stored, and another replica
would declare them silent. So it ends its sessions in time for the workers to reach another one.
"""

import asyncio
import logging
import time
from typing import Final, NoReturn

from edge_api.database.pool import Database
from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_api.metrics import Metrics
from edge_api.sessions.registry import Registry
from edge_api.settings import LONGEST_STALL, ApiSettings
from edge_store.schema import migrate, platform

PERIOD_S: Final = 1.0
PATIENCE_S: Final = LONGEST_STALL.total_seconds()

log = logging.getLogger(__name__)


class DatabaseContact:
    """Writes the canary, and acts when it fails."""

    def __init__(self, database: Database, registry: Registry, metrics: Metrics, settings: ApiSettings) -> None:
        self._database = database
        self._registry = registry
        self._metrics = metrics
        self._stall = settings.stall
        self._patience_s = max(settings.heartbeat_interval_s, PATIENCE_S)
        self._schema = migrate.head_revision()
        self._proven_at = time.monotonic()
        self.problem: str | None = None
        """Why this replica can't take workers; None: the last write and the schema were all right."""

    async def run(self) -> NoReturn:
        """Write forever."""
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._database.run(platform.canary(self._stall))
                    schema = await self._database.schema_version()
            except (DatabaseAwayError, DatabaseRefusedError) as error:
                self._failed(str(error), began)
            except TimeoutError:
                self._failed(f"it took no write within {PATIENCE_S:g} s", began)
            else:
                self._succeeded(schema)
            self._metrics.database_up.set(self.problem is None)
            await asyncio.sleep(PERIOD_S)

    async def watch(self) -> NoReturn:
        """End the sessions once the database is out of reach for a heartbeat interval, forever."""
        while True:
            await asyncio.sleep(PERIOD_S)
            if time.monotonic() - self._proven_at > self._patience_s:
                if not self._registry.database_away:
                    # The write that is under way may still wait for its own end.
                    self._away(f"it took no write within {self._patience_s:g} s")
                self._registry.database_away = True
                for session in self._registry:
                    session.end_database_away()

    def _succeeded(self, schema: str | None) -> None:
        if time.monotonic() - self._proven_at > self._stall.total_seconds():
            # It may have stalled without an error.
            self._database.note_failure()
            log.warning("the database takes writes again")
        self._proven_at = time.monotonic()
        self._registry.database_away = False
        self.problem = None
        if schema != self._schema:
            self.problem = f"The database has schema version {schema or 'none'}, but this program needs {self._schema}."

    def _failed(self, reason: str, began: float) -> None:
        noted = self._database.last_failure
        if noted is None or noted < began:
            # The pool notes what is surely an outage; anything else is one if this write fails of it.
            self._database.note_failure()
        self._away(reason)

    def _away(self, reason: str) -> None:
        if self.problem is None:
            log.warning("the database is away: %s", reason)
        self.problem = f"The database is away: {reason}"
