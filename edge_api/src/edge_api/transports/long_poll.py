"""The long-poll transport: the same sessions, carried by calls that may hit any replica.

Why nothing is lost, whatever happens to a call or its answer:

- A frame of the worker whose answer was lost is sent again by the worker, since it was not acknowledged; every handler
  is idempotent.
- An acknowledgement that was lost is made again by that repeat.
- A job whose answer was lost is still `leased` in the store. A replica that did not send it itself sends it with the
  next held call; otherwise the accept timeout puts it back.
- `cancel`, `fenced` and `desired` follow from state: heartbeats name the leases held and the version of the wishes, and
  what differs is told again.

A call whose connection breaks while it is held leaves its frames in the outbox. A session lives in the memory of each
replica that was called; the store's session id says whether it is still the worker's current one, so a replica that
does not know it builds it again. A session gets jobs only while a call of it is being held, and its slots are counted
from the store at the start of each held call, since another replica may have given or finished jobs meanwhile.
"""

import asyncio
import time
from typing import Final
from uuid import UUID

from edge_api.fleet.desired import Wishes
from edge_api.frames.receive import receive
from edge_api.identity.authenticator import Principal
from edge_api.sessions.hub import Hub
from edge_api.sessions.session import Session
from edge_api.sessions.writers import LeaseState
from edge_protocol import JobState
from edge_protocol.frames import Error
from edge_protocol.limits import FRAME_MAX_BYTES
from edge_protocol.rest import SyncRequest, SyncResponse
from edge_store.jobs import leases
from edge_store.workers import agents

CANCEL_PATIENCE_S: Final = 60.0
"""A cancelled task is killed by its worker well before that."""

_UNKNOWN: Final = Error(code="session_unknown", message="The session is not known here. Say hello again.", fatal=True)


class SyncSession(Session):
    """A session that is carried by calls."""

    def __init__(self, hub: Hub, principal: Principal) -> None:
        super().__init__(hub, principal, "sync")
        self.turn = asyncio.Lock()
        """Frames are handled one call after the other."""
        self._latest_hold = 0

    def heard_since(self, moment: float) -> bool:
        """Return whether the worker is there; while a call is held its frames may come to another replica."""
        return self.listening or super().heard_since(moment)

    async def hold(self, wait_s: float) -> bool:
        """Wait until there is a frame; False if a later call has taken over the waiting."""
        self._latest_hold += 1
        mine = self._latest_hold
        self.outbox.nudge()
        self.listening = True
        self.hub.dispatcher.wake()
        try:
            async with asyncio.timeout(wait_s):
                while not self.outbox.ready and self._latest_hold == mine:
                    await self.outbox.changed()
        except TimeoutError:
            pass
        finally:
            if self._latest_hold == mine:
                self.listening = False
        return self._latest_hold == mine

    async def count_leases(self) -> None:
        """Compare the view with the store, and send the jobs that another replica may have failed to send."""
        asked = time.monotonic()
        rows = await self.hub.database.rows(leases.held_by(self.worker), "held_by")
        known = self.leases.ids(before=asked)
        unsent = [row for row in rows if row.state == "leased" and self.leases.get(row.lease_id) is None]
        current = {row.lease_id: LeaseState(JobState(row.state), row.slots) for row in rows}
        self.apply_states(list(current), current, asked)
        if vanished := [lease for lease in known if lease not in current]:
            self.check(vanished)
        # The heartbeat that leaves a cancelled task out may have gone to another replica.
        self.leases.forget_cancelled(asked - CANCEL_PATIENCE_S)
        for row in unsent:
            if self.leases.get(row.lease_id) is not None:
                self.send_job(row)


class SyncSessions:
    """Carries sessions over `POST sync`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def call(self, principal: Principal, request: SyncRequest) -> SyncResponse:
        """Handle one call; it may be cancelled at any time when its connection breaks.

        Raises:
            RefusedError: this replica takes no new session (503).
            DatabaseAwayError: the session can't be looked up now.

        """
        session = await self._session(principal, request.session_id)
        if session is not None and session.principal.credential_id != principal.credential_id:
            # Claims go by the credential of the hello; after a rotation the worker says hello with the new one.
            session = None
        if session is None:
            return SyncResponse(frames=[_UNKNOWN.model_dump_json()])
        async with session.turn:
            for text in request.frames:
                await self._receive(session, text)
            session.last_heard = time.monotonic()
            if session.hello is None and not session.opened:
                session.end("hello_first", "The first frame of a session must be a hello.", fatal=True)
            if request.wait_s > 0 and session.opened:
                await session.count_leases()
        if request.wait_s > 0 and not await session.hold(request.wait_s):
            return SyncResponse(frames=[])
        return SyncResponse(frames=session.outbox.take())

    @staticmethod
    async def _receive(session: SyncSession, text: str) -> None:
        if len(text) > FRAME_MAX_BYTES:
            session.complain(f"frame: Data should have at most {FRAME_MAX_BYTES} bytes")
            return
        await receive(session, text)
        await session.has_room()

    async def _session(self, principal: Principal, session_id: UUID | None) -> SyncSession | None:
        if session_id is None:
            self._hub.registry.admit()
            return SyncSession(self._hub, principal)
        return self._known(principal.worker, session_id) or await self._build_again(principal, session_id)

    def _known(self, worker: str, session_id: UUID) -> SyncSession | None:
        session = self._hub.registry.get(worker)
        return session if isinstance(session, SyncSession) and session.id == session_id else None

    async def _build_again(self, principal: Principal, session_id: UUID) -> SyncSession | None:
        """Take over a session that another replica began, or None if it is not the worker's current one."""
        database = self._hub.database
        rows = await database.rows(agents.get(principal.worker), "worker")
        wishes = await database.rows(agents.desired_of([principal.worker]), "desired")
        if (known := self._known(principal.worker, session_id)) is not None:  # a call at the same time was faster
            return known
        proof = (session_id, principal.identity, principal.credential_id)
        if not rows or not wishes or (rows[0].session_id, rows[0].identity, rows[0].credential_id) != proof:
            return None
        self._hub.registry.admit()
        session = SyncSession(self._hub, principal)
        session.id = session_id
        session.wishes = Wishes.of_row(wishes[0])
        session.queues = frozenset(rows[0].queues)
        session.leases.concurrency = rows[0].concurrency
        session.withdrawn = rows[0].maintenance_acknowledged or rows[0].terminating
        session.cordon_reason = rows[0].cordon_reason
        session.opened = True
        self._hub.registry.add(session)
        return session
