"""`bye`: the worker stops. Whatever it still held is decided now, since nobody else would."""

import asyncio
import logging
from typing import Final

from edge_api.database.pool import Database
from edge_api.errors import DatabaseAwayError
from edge_api.sessions.session import Ending, Session
from edge_store.jobs import leases
from edge_store.workers import agents

PATIENCE_S: Final = 10.0
"""Reports sent before a bye are durable long before that."""

log = logging.getLogger(__name__)


class ByeHandler:
    """Handles `bye` frames."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def handle(self, session: Session) -> None:
        """Store the clean disconnect, and end the session."""
        # Otherwise the dispatcher could give it the very jobs that go back to their queue here.
        session.withdraw(withdrawn=True)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await session.all_durable()
            if not await self._is_current(session):
                session.supersede()
                return
            reason = f"edge worker {session.worker} stopped without a report"
            await self._database.unlocked_rows(leases.give_up(session.worker, session.id, reason))
            await self._database.run(agents.disconnect(session.worker, session.id))
        except (DatabaseAwayError, TimeoutError) as error:
            log.warning("a bye was not written: %s", error, extra={"worker": session.worker})
        log.info("session ends", extra={"worker": session.worker, "session": session.id, "code": "bye"})
        session.detach(Ending("bye", 1000))

    async def _is_current(self, session: Session) -> bool:
        standing = await self._database.first(agents.standing([session.worker]))
        return standing is not None and standing.session_id == session.id
