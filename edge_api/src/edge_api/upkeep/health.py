"""Whether this process can do its work. A probe waits for nothing: a database that hangs must not delay the answer."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from edge_api.http.problems import problem
from edge_api.sessions.registry import Registry
from edge_api.upkeep.contact import DatabaseContact
from edge_api.upkeep.hints import Hints


class Health:
    """Answers probes from what the services of this replica know."""

    def __init__(self, contact: DatabaseContact, hints: Hints, registry: Registry) -> None:
        self._contact = contact
        self._hints = hints
        self._registry = registry
        self.router = APIRouter()
        self.router.add_api_route("/healthz", self.healthz)
        self.router.add_api_route("/readyz", self.readyz)

    @staticmethod
    async def healthz() -> Response:
        """Answer that the process lives: a service that dies ends the process, so there is nothing to check."""
        return PlainTextResponse("ok")

    async def readyz(self) -> Response:
        """Answer whether this replica can take workers."""
        problem_now = self.problem()
        return PlainTextResponse("ok") if problem_now is None else problem(503, "not_ready", problem_now)

    def problem(self) -> str | None:
        """Return the reason why this replica can't take workers, or None."""
        if self._registry.closing:
            return "This replica stops."
        if self._contact.problem is None and not self._hints.up:
            return "The connection that listens for hints is being opened again."
        return self._contact.problem
