"""Whether this process can do its work."""

import time
from typing import Final

from edge_api.database.hints import Hints
from edge_api.database.pool import Database
from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_api.metrics import Metrics
from edge_api.sessions.registry import Registry
from edge_store.schema import migrate

CACHE_S: Final = 1.0


class Health:
    """Answers readiness probes; the database is asked once a second at most."""

    def __init__(self, database: Database, hints: Hints, registry: Registry, metrics: Metrics) -> None:
        self._database = database
        self._hints = hints
        self._registry = registry
        self._metrics = metrics
        self._needed = migrate.head_revision()
        self._asked_at = float("-inf")
        self._answer: str | None = None

    async def problem(self) -> str | None:
        """Return what keeps this replica from taking workers, or None."""
        if self._registry.closing:
            return "This replica stops."
        if time.monotonic() - self._asked_at > CACHE_S:
            self._answer = await self._ask_database()
            self._asked_at = time.monotonic()
            self._metrics.database_up.set(self._answer is None)
        if self._answer is None and not self._hints.up:
            return "The connection that listens for hints is being made again."
        return self._answer

    async def _ask_database(self) -> str | None:
        try:
            async with self._database.transaction("ready") as connection:
                current = await connection.run_sync(migrate.current_revision)
        except (DatabaseAwayError, DatabaseRefusedError) as error:
            return f"The database is away: {error}"
        if current != self._needed:
            return f"The database has schema version {current or 'none'}, but this program needs {self._needed}."
        return None
