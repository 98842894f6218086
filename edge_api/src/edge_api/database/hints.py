"""What this process does when the database tells it that something has changed, and when it may have missed that."""

import asyncio
import logging
import time
from contextlib import aclosing
from typing import Final, NoReturn
from uuid import UUID

from edge_api.errors import DatabaseAwayError
from edge_api.fleet.changes import ChangeFeed
from edge_api.identity.authenticator import Authenticator
from edge_api.sessions.hub import Hub
from edge_store.database.listen import listen
from edge_store.database.notify import Notification
from edge_store.errors import UnreachableDatabaseError
from edge_store.workers import agents

KEEPALIVE_S: Final = 5.0
_BACKOFF_S: Final = 0.5

_OF_THE_FLEET: Final = frozenset({"desired", "session", "fleet"})
"""Kinds that tell of what followers of the change stream see."""

log = logging.getLogger(__name__)


class Hints:
    """Listens on a connection of its own, and looks at everything again whenever that connection is new."""

    def __init__(self, hub: Hub, authenticator: Authenticator, changes: ChangeFeed) -> None:
        self._hub = hub
        self._authenticator = authenticator
        self._changes = changes
        self._alive_at = float("-inf")

    @property
    def up(self) -> bool:
        """Whether hints arrive."""
        return time.monotonic() - self._alive_at < 3 * KEEPALIVE_S

    async def run(self) -> NoReturn:
        """Listen for ever; a connection that breaks is made again."""
        while True:
            try:
                await self._listen()
            except (UnreachableDatabaseError, DatabaseAwayError) as error:
                log.warning("no hints for now: %s", error)
            self._alive_at = float("-inf")
            await asyncio.sleep(_BACKOFF_S)

    async def _listen(self) -> None:
        fresh = True
        async with (
            self._hub.database.own_connection() as connection,
            aclosing(listen(connection, KEEPALIVE_S)) as hints,
        ):
            async for hint in hints:
                self._alive_at = time.monotonic()
                if hint is not None:
                    await self._heed(hint)
                elif fresh:
                    fresh = False
                    await self.look_at_everything()

    async def _heed(self, hint: Notification) -> None:
        registry = self._hub.registry
        if hint.kind in _OF_THE_FLEET:
            self._changes.hint()
        match hint.kind:
            case "job":
                self._hub.dispatcher.hint(hint.text)
            case "cancel":
                if (session := registry.get(hint.text)) is not None and (leases := session.leases.ids()):
                    session.check(leases)
            case "desired":
                if (session := registry.get(hint.text)) is not None:
                    session.refresh_wishes()
            case "session":
                self._supersede(*hint.text.rpartition(" ")[::2])
            case "credential":
                if (credential_id := _uuid(hint.text)) is not None:
                    await self._check_credentials(credential_id)

    def _supersede(self, worker: str, session_id: str) -> None:
        session = self._hub.registry.get(worker)
        if session is not None and str(session.id) != session_id:
            session.supersede()

    async def look_at_everything(self) -> None:
        """Compare all sessions with the database, since hints may have been missed."""
        hub = self._hub
        log.info("listening for hints", extra={"sessions": len(hub.registry)})
        hub.dispatcher.wake()
        await self._check_credentials(None)
        await self._check_standing()
        for session in hub.registry:
            if leases := session.leases.ids():
                session.check(leases)
            session.refresh_wishes()

    async def _check_credentials(self, only: UUID | None) -> None:
        self._authenticator.drop(only)
        self._changes.credential_changed(only)
        concerned = [
            session for session in self._hub.registry if only is None or session.principal.credential_id == only
        ]
        if not concerned:
            return
        good = await self._authenticator.still_good([session.principal.credential_id for session in concerned])
        for session in concerned:
            if session.principal.credential_id in good:
                session.regrant(good[session.principal.credential_id])
                session.refresh_wishes()
            elif session.principal.expired:
                session.end_expired()
            else:
                session.end(
                    "credential_revoked", "The worker's credential is not good any more. Enrol it again.", fatal=True
                )

    async def _check_standing(self) -> None:
        sessions = {session.worker: session for session in self._hub.registry if session.opened}
        rows = await self._hub.database.rows(agents.standing(list(sessions)), "standing")
        for row in rows:
            if row.session_id != sessions[row.name].id:
                sessions[row.name].supersede()


def _uuid(text: str) -> UUID | None:
    """Read a hint's id; anybody who may write to the database can send a hint."""
    try:
        return UUID(text)
    except ValueError:
        return None
