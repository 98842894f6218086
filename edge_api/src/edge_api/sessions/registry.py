"""The sessions of this process."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from edge_api.errors import RefusedError
from edge_api.metrics import Metrics

if TYPE_CHECKING:
    from edge_api.sessions.session import Session

Transport = Literal["websocket", "sync"]


class Registry:
    """Sessions whose hello was good, at most one per worker."""

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._metrics = metrics
        self._by_worker: dict[str, Session] = {}
        self.closing = False
        """This process is about to stop: it takes no new session."""

    def __iter__(self) -> "Iterator[Session]":
        return iter(list(self._by_worker.values()))

    def __len__(self) -> int:
        return len(self._by_worker)

    def admit(self) -> None:
        """Check that one more session may begin.

        Raises:
            RefusedError: this process is full or stops (503).

        """
        if self.closing:
            raise RefusedError(503, "going_away", "This replica of the edge API stops. Connect again.")
        if len(self._by_worker) >= self._most:
            raise RefusedError(
                503,
                "too_many_sessions",
                f"This replica of the edge API has its {self._most} workers. Add replicas, or raise "
                "EDGE_API_MAX_SESSIONS.",
            )

    def get(self, worker: str) -> "Session | None":
        """Return the session of a worker."""
        return self._by_worker.get(worker)

    def add(self, session: "Session") -> None:
        """Add a session; an older one of its worker ends."""
        older = self._by_worker.get(session.worker)
        self._by_worker[session.worker] = session
        self._metrics.sessions.labels(session.transport).inc()
        if older is not None:
            self._metrics.sessions.labels(older.transport).dec()
            older.supersede()

    def remove(self, session: "Session") -> None:
        """Forget a session."""
        if self._by_worker.get(session.worker) is session:
            del self._by_worker[session.worker]
            self._metrics.sessions.labels(session.transport).dec()

    def superseded(self, worker: str, session_id: UUID) -> None:
        """End a session that the database does not have as its worker's current one."""
        session = self._by_worker.get(worker)
        if session is not None and session.id == session_id:
            session.supersede()

    def end_expired(self) -> None:
        """End sessions whose credential's time is over; with its successor the worker connects anew."""
        for session in self:
            if session.principal.expired:
                session.end_expired()

    def end_silent(self, window_s: float) -> None:
        """End sessions that nothing was heard of for `window_s` seconds: their workers are not there."""
        limit = time.monotonic() - window_s
        for session in self:
            if not session.heard_since(limit):
                session.end_silent(window_s)
