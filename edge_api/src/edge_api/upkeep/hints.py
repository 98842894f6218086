"""Hints from other processes, over the database: what has changed, and what this replica does about it.

A hint may be lost with the connection that carries it, so a new connection compares everything again.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final, NoReturn
from uuid import UUID

from edge_api.database.pool import Database
from edge_api.dispatch.dispatcher import Wakeups
from edge_api.errors import DatabaseAwayError
from edge_api.fleet.changes import ChangeFeed
from edge_api.identity.authenticator import Authenticator
from edge_api.sessions.desired import DesiredUpdates
from edge_api.sessions.lease_checks import LeaseChecks
from edge_api.sessions.registry import Registry
from edge_api.sessions.session import Session
from edge_store.database.listen import listen
from edge_store.database.notify import Notification
from edge_store.errors import UnreachableDatabaseError
from edge_store.workers import agents

KEEPALIVE_S: Final = 5.0
_BACKOFF_S: Final = 0.5

_OF_THE_FLEET: Final = frozenset({"desired", "session", "fleet"})
"""Kinds about what followers of the change stream see."""

log = logging.getLogger(__name__)


class Hints:
    """Listens on a connection of its own."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        wakeups: Wakeups,
        desired: DesiredUpdates,
        checks: LeaseChecks,
        authenticator: Authenticator,
        changes: ChangeFeed,
    ) -> None:
        self._database = database
        self._registry = registry
        self._wakeups = wakeups
        self._desired = desired
        self._checks = checks
        self._authenticator = authenticator
        self._changes = changes
        self._alive_at = float("-inf")

    @property
    def up(self) -> bool:
        """Whether hints arrive."""
        return time.monotonic() - self._alive_at < 3 * KEEPALIVE_S

    async def run(self) -> NoReturn:
        """Listen forever; a broken connection is replaced."""
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
            self._database.own_connection() as connection,
            aclosing(listen(connection, KEEPALIVE_S)) as hints,
        ):
            async for hint in hints:
                self._alive_at = time.monotonic()
                if hint is not None:
                    await self._follow(hint)
                elif fresh:
                    fresh = False
                    await self._compare_everything()

    async def _follow(self, hint: Notification) -> None:
        if hint.kind in _OF_THE_FLEET:
            self._changes.hint()
        match hint.kind:
            case "job":
                self._wakeups.queue_has_work(hint.text)
            case "cancel":
                if (session := self._registry.get(hint.text)) is not None:
                    self._check_leases(session)
            case "desired":
                if (session := self._registry.get(hint.text)) is not None:
                    self._desired.refresh(session)
            case "session":
                worker, _, current = hint.text.rpartition(" ")
                if (session := self._registry.get(worker)) is not None and str(session.id) != current:
                    session.supersede()
            case "credential":
                if (credential_id := _uuid(hint.text)) is not None:
                    self._authenticator.drop(credential_id)
                    self._changes.credential_changed(credential_id)
                    await self._check_credentials(
                        [each for each in self._registry if each.principal.credential_id == credential_id]
                    )

    async def _compare_everything(self) -> None:
        """Compare all sessions with the database, since hints may have been missed."""
        log.info("listening for hints", extra={"sessions": len(self._registry)})
        self._wakeups.room_freed()
        self._authenticator.drop(None)
        self._changes.credential_changed(None)
        await self._check_credentials(list(self._registry))
        await self._check_current()
        for session in self._registry:
            self._check_leases(session)
            self._desired.refresh(session)

    def _check_leases(self, session: Session) -> None:
        if leases := session.leases.ids():
            self._checks.check(session, leases)

    async def _check_credentials(self, sessions: Sequence[Session]) -> None:
        """Take over what the credentials grant now; end the sessions of those that are revoked or expired."""
        if not sessions:
            return
        valid = await self._authenticator.still_valid([session.principal.credential_id for session in sessions])
        for session in sessions:
            if session.principal.credential_id in valid:
                session.regrant(valid[session.principal.credential_id])
                self._desired.refresh(session)
            elif session.principal.expired:
                session.end_expired()
            else:
                session.end("credential_revoked", "The worker's credential was revoked. Enrol it again.", fatal=True)

    async def _check_current(self) -> None:
        """End the sessions whose workers another session has taken over."""
        sessions = {session.worker: session for session in self._registry if session.opened}
        rows = await self._database.rows(agents.standing(list(sessions)))
        for row in rows:
            if row.session_id != sessions[row.name].id:
                sessions[row.name].supersede()


def _uuid(text: str) -> UUID | None:
    """Read a hint's id; anybody who may write to the database can send a hint."""
    try:
        return UUID(text)
    except ValueError:
        return None
