"""A change of the desired state on its way to a session: read for many workers at once, applied, stored, and sent."""

from collections.abc import Callable, Sequence

from edge_api.database.batcher import Batcher
from edge_api.database.pool import Database
from edge_api.fleet.desired import DesiredState
from edge_api.sessions.session import Session
from edge_store.workers import agents


class DesiredUpdates:
    """Keeps sessions at the desired state of their workers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.batcher: Batcher[Session, None] = Batcher("desired", self._read_and_apply)

    def refresh(self, session: Session) -> None:
        """Read the desired state again, and send the worker what has changed."""
        before = (session.desired.version, session.queues)

        def send_if_changed(_: None) -> None:
            if (session.desired.version, session.queues) != before:
                session.send_desired()

        session.track(self.batcher.submit(session), send_if_changed)

    def refresh_then(self, session: Session, then: Callable[[], None]) -> None:
        """Read the desired state again, then call `then`, whether or not it has changed."""
        session.track(self.batcher.submit(session), lambda _: then())

    async def read(self, worker: str) -> DesiredState:
        """Return the desired state of a worker: the default one if the worker is not known yet.

        Raises:
            DatabaseAwayError: it can't be read now.

        """
        row = await self._database.first(agents.desired_of([worker]))
        return DesiredState() if row is None else DesiredState.of_row(row)

    async def apply(self, session: Session, desired: DesiredState) -> None:
        """Let a session take over the desired state, and store the queues and slots that claims go by from now on.

        Raises:
            DatabaseAwayError: it can't be stored now.

        """
        if session.apply_desired(desired):
            statement = agents.set_effective(
                session.worker, session.id, sorted(session.queues), session.leases.concurrency
            )
            await self._database.run(statement)

    async def _read_and_apply(self, sessions: Sequence[Session]) -> list[None]:
        rows = await self._database.rows(agents.desired_of([session.worker for session in sessions]))
        found = {row.worker_name: DesiredState.of_row(row) for row in rows}
        for session in {session.id: session for session in sessions}.values():
            if (desired := found.get(session.worker)) is not None:
                await self.apply(session, desired)
        return [None] * len(sessions)
