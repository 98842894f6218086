"""Reads what is desired of workers, many at once, and writes what follows for their claims."""

from collections.abc import Sequence

from edge_api.database.pool import Database
from edge_api.fleet.desired import Wishes
from edge_api.sessions.session import Session
from edge_store.workers import agents


class WishReader:
    """Flush function of the batcher of wishes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def flush(self, sessions: Sequence[Session]) -> list[Wishes | None]:
        """Return for each session what is desired of its worker; None if the worker is not there any more.

        A session that has news takes it over before its queues and slots are written.
        """
        rows = await self._database.rows(agents.desired_of([session.worker for session in sessions]), "desired")
        found = {row.worker_name: Wishes.of_row(row) for row in rows}
        for session in {session.id: session for session in sessions}.values():
            wishes = found.get(session.worker)
            if wishes is not None and session.take_wishes(wishes):
                await store_effective(self._database, session)
        return [found.get(session.worker) for session in sessions]


async def store_effective(database: Database, session: Session) -> None:
    """Write the session's queues and slots, which claims go by."""
    statement = agents.set_effective(session.worker, session.id, sorted(session.queues), session.leases.concurrency)
    await database.rows(statement, "set_effective")
