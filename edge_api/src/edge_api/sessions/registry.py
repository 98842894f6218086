"""The sessions of this process, at most one per worker."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar
from uuid import UUID

from edge_api.errors import RefusedError
from edge_api.held_bytes import HeldBytes
from edge_api.identity.authenticator import Principal
from edge_api.identity.refusals import Refusals
from edge_api.metrics import Metrics
from edge_api.sessions.lease_view import Phase
from edge_api.sessions.session import Session, Surroundings
from edge_api.settings import ApiSettings
from edge_protocol.frames import HeartbeatAck

AnySession = TypeVar("AnySession", bound=Session)


class Registry:
    """Makes sessions, and has those whose hello was accepted."""

    def __init__(
        self,
        settings: ApiSettings,
        metrics: Metrics,
        held: HeldBytes,
        refusals: Refusals,
        room_freed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._surroundings = Surroundings(
            accept_timeout_s=settings.accept_timeout_s,
            pending_bytes_most=2 * settings.log_window_bytes,
            held=held,
            metrics=metrics,
            refusals=refusals,
            room_freed=room_freed,
            ended=self._remove,
        )
        self._by_worker: dict[str, Session] = {}
        self.closing = False
        """This process is about to stop: it takes no new session."""
        self.database_away = False
        """The database is out of reach for so long that the workers are better off with another replica."""

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_worker.values()))

    def __len__(self) -> int:
        return len(self._by_worker)

    def admit(self) -> None:
        """Check that one more session may begin.

        Raises:
            RefusedError: this process is full, stops, or does not reach the database (503).

        """
        if self.closing:
            raise RefusedError(503, "going_away", "This replica of the edge API stops. Connect again.")
        if self.database_away:
            raise RefusedError(503, "database_away", "The database is away. Connect again.")
        if len(self._by_worker) >= self._settings.max_sessions:
            raise RefusedError(
                503,
                "too_many_sessions",
                f"This replica of the edge API has its {self._settings.max_sessions} workers. Add replicas, or raise "
                "EDGE_API_MAX_SESSIONS.",
            )

    def begin(self, kind: type[AnySession], principal: Principal) -> AnySession:
        """Return a new session, which counts only after its hello.

        Raises:
            RefusedError: as `admit`.

        """
        self.admit()
        return kind(principal, self._surroundings)

    def get(self, worker: str) -> Session | None:
        """Return the session of a worker."""
        return self._by_worker.get(worker)

    def runs(self, worker: str, lease: UUID) -> bool:
        """Return whether a worker is connected here and runs a lease, as far as its session knows."""
        session = self._by_worker.get(worker)
        holding = session.leases.get(lease) if session is not None else None
        return holding is not None and holding.phase is Phase.RUNNING

    def add(self, session: Session) -> None:
        """Add a session; an older one of its worker ends."""
        older = self._by_worker.get(session.worker)
        self._by_worker[session.worker] = session
        self._metrics.sessions.labels(session.transport).inc()
        if older is not None:
            self._metrics.sessions.labels(older.transport).dec()
            older.supersede()

    def _remove(self, session: Session) -> None:
        if self._by_worker.get(session.worker) is session:
            del self._by_worker[session.worker]
            self._metrics.sessions.labels(session.transport).dec()

    def supersede(self, worker: str, session_id: UUID) -> None:
        """End the session of a worker if it is this one: the database has another as the worker's current one."""
        if (session := self._this(worker, session_id)) is not None:
            session.supersede()

    def acknowledge_heartbeat(self, worker: str, session_id: UUID, mark: int) -> None:
        """Report to a worker that its heartbeat is stored; nothing happens if the session is not here any more."""
        if (session := self._this(worker, session_id)) is not None:
            session.send(HeartbeatAck(mark=mark))

    def _this(self, worker: str, session_id: UUID) -> Session | None:
        session = self._by_worker.get(worker)
        return session if session is not None and session.id == session_id else None

    def cordon(self, worker: str, reason: str | None) -> None:
        """Cordon a worker's session, or (None) give it jobs again; nothing happens if the worker is elsewhere."""
        if (session := self._by_worker.get(worker)) is not None:
            session.cordon(reason)

    async def watch_silence(self) -> NoReturn:
        """End sessions whose workers are silent or whose credentials have expired, forever."""
        window_s = self._settings.silence_window.total_seconds()
        while True:
            await asyncio.sleep(min(1.0, self._settings.heartbeat_interval_s))
            heard_after = time.monotonic() - window_s
            for session in self:
                if not session.heard_since(heard_after):
                    session.end_silent(window_s)
                elif session.principal.expired:
                    session.end_expired()
