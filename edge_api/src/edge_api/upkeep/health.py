"""Whether this process can do its work."""

import time
from typing import Final

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from edge_api.database.pool import Database
from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_api.http.problems import problem
from edge_api.metrics import Metrics
from edge_api.sessions.registry import Registry
from edge_api.upkeep.contact import DatabaseContact
from edge_api.upkeep.hints import Hints
from edge_store.schema import migrate

CACHE_S: Final = 1.0


class Health:
    """Answers readiness probes; the database is asked once a second at most."""

    def __init__(
        self, database: Database, contact: DatabaseContact, hints: Hints, registry: Registry, metrics: Metrics
    ) -> None:
        self._database = database
        self._contact = contact
        self._hints = hints
        self._registry = registry
        self._metrics = metrics
        self._needed = migrate.head_revision()
        self._asked_at = float("-inf")
        self._answer: str | None = None
        self.router = APIRouter()
        self.router.add_api_route("/healthz", self.healthz)
        self.router.add_api_route("/readyz", self.readyz)

    @staticmethod
    async def healthz() -> Response:
        """Answer that the process lives: a service that dies ends the process, so there is nothing to check."""
        return PlainTextResponse("ok")

    async def readyz(self) -> Response:
        """Answer whether this replica can take workers."""
        problem_now = await self.problem()
        return PlainTextResponse("ok") if problem_now is None else problem(503, "not_ready", problem_now)

    async def problem(self) -> str | None:
        """Return the reason why this replica can't take workers, or None."""
        if self._registry.closing:
            return "This replica stops."
        if time.monotonic() - self._asked_at > CACHE_S:
            self._answer = await self._ask_database()
            self._asked_at = time.monotonic()
            self._metrics.database_up.set(self._answer is None and self._contact.problem is None)
        if self._contact.problem is not None:
            return f"The database is away: {self._contact.problem}"
        if self._answer is None and not self._hints.up:
            return "The connection that listens for hints is being opened again."
        return self._answer

    async def _ask_database(self) -> str | None:
        try:
            current = await self._database.schema_version()
        except (DatabaseAwayError, DatabaseRefusedError) as error:
            return f"The database is away: {error}"
        if current != self._needed:
            return f"The database has schema version {current or 'none'}, but this program needs {self._needed}."
        return None
