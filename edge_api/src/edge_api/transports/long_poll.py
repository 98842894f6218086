"""The long-poll transport: the same sessions, carried by calls that may hit any replica.

Why nothing is lost, whatever happens to a call or its answer:

- A frame of the worker whose answer was lost is sent again by the worker, since it was not acknowledged; every handler
  is idempotent.
- An acknowledgement that was lost is made again by that repeat.
- A job whose answer was lost is still `leased` in the store. A replica that did not send it itself sends it with the
  next held call; otherwise the accept timeout puts it back.
- `cancel`, `fenced` and `desired` follow from state: heartbeats name the leases held and the version of the desired
  state, and what differs is sent again.

A call whose connection breaks while it is held leaves its frames in the outbox. A session lives in the memory of each
replica that was called; the store's session id says whether it is still the worker's current one, so a replica that
does not know it builds it again. A session gets jobs only while a call of it is being held, and its slots are counted
from the store at the start of each held call, since another replica may have given or finished jobs meanwhile.
"""

import asyncio
import time
from typing import ClassVar, Final
from uuid import UUID

from fastapi import APIRouter, Request

from edge_api.database.pool import Database
from edge_api.frames.receive import Receiver
from edge_api.http.address import address_of
from edge_api.identity.authenticator import Authenticator, Principal
from edge_api.sessions.desired import DesiredUpdates
from edge_api.sessions.lease_checks import LeaseChecks, LeaseState, follow_store
from edge_api.sessions.registry import Registry
from edge_api.sessions.session import Session, Surroundings, Transport
from edge_protocol import JobState
from edge_protocol.frames import Error
from edge_protocol.limits import FRAME_MAX_BYTES
from edge_protocol.rest import SYNC_PATH, SyncRequest, SyncResponse
from edge_store.jobs import leases
from edge_store.workers import agents

CANCEL_PATIENCE_S: Final = 60.0
"""A cancelled task is killed by its worker well before that."""

_UNKNOWN: Final = Error(code="session_unknown", message="The session is not known here. Say hello again.", fatal=True)


class SyncSession(Session):
    """A session that is carried by calls."""

    transport: ClassVar[Transport] = "sync"

    def __init__(self, principal: Principal, surroundings: Surroundings) -> None:
        super().__init__(principal, surroundings)
        self.turn = asyncio.Lock()
        """Frames are handled one call after the other."""
        self._latest_hold = 0

    def heard_since(self, moment: float) -> bool:
        """Return whether the worker is connected; while a call is held its frames may come to another replica."""
        return self.listening or super().heard_since(moment)

    async def hold(self, wait_s: float) -> bool:
        """Wait until there is a frame; False if a later call has taken over the waiting."""
        self._latest_hold += 1
        mine = self._latest_hold
        self.outbox.nudge()
        self.listening = True
        self.room_freed()
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


class LongPollTransport:
    """Carries sessions over `POST sync`."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        registry: Registry,
        receiver: Receiver,
        desired: DesiredUpdates,
        checks: LeaseChecks,
    ) -> None:
        self._database = database
        self._authenticator = authenticator
        self._registry = registry
        self._receiver = receiver
        self._desired = desired
        self._checks = checks
        self.router = APIRouter()
        self.router.add_api_route(SYNC_PATH, self.sync, methods=["POST"])

    async def sync(self, request: Request, body: SyncRequest) -> SyncResponse:
        """Carry one turn of a long-poll session."""
        principal = await self._authenticator.worker(request.headers.get("authorization"), address_of(request))
        call = asyncio.create_task(self._call(principal, body), name=f"sync-{principal.worker}")
        gone = asyncio.create_task(_disconnected(request), name=f"sync-{principal.worker}-gone")
        try:
            await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return call.result()
        finally:
            # A call that nobody waits for must take no more frames out of the outbox.
            call.cancel()
            gone.cancel()
            await asyncio.gather(call, gone, return_exceptions=True)
        return SyncResponse(frames=[])

    async def _call(self, principal: Principal, request: SyncRequest) -> SyncResponse:
        """Handle one call; it may be cancelled at any time when its connection breaks.

        Raises:
            RefusedError: this replica takes no new session (503).
            DatabaseAwayError: the session can't be looked up now.

        """
        session = await self._find(principal, request.session_id)
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
                await self._count_leases(session)
        if request.wait_s > 0 and not await session.hold(request.wait_s):
            return SyncResponse(frames=[])
        return SyncResponse(frames=session.outbox.take())

    async def _receive(self, session: SyncSession, text: str) -> None:
        if len(text) > FRAME_MAX_BYTES:
            session.complain(f"frame: Data should have at most {FRAME_MAX_BYTES} bytes")
            return
        await self._receiver.receive(session, text)
        await session.room_for_frames()

    async def _count_leases(self, session: SyncSession) -> None:
        """Compare the view with the store, and send the jobs that another replica may have failed to send."""
        asked = time.monotonic()
        rows = await self._database.rows(leases.held_by(session.worker))
        known = session.leases.ids(before=asked)
        unsent = [row for row in rows if row.state == "leased" and session.leases.get(row.lease_id) is None]
        current = {row.lease_id: LeaseState(JobState(row.state), row.slots) for row in rows}
        follow_store(session, list(current), current, asked)
        if vanished := [lease for lease in known if lease not in current]:
            self._checks.check(session, vanished)
        # The heartbeat that leaves a cancelled task out may have gone to another replica.
        session.leases.forget_cancelled(asked - CANCEL_PATIENCE_S)
        for row in unsent:
            if session.leases.get(row.lease_id) is not None:
                session.send_job(row)

    # ---- which session a call belongs to ----

    async def _find(self, principal: Principal, session_id: UUID | None) -> SyncSession | None:
        if session_id is None:
            return self._registry.begin(SyncSession, principal)
        return self._known(principal.worker, session_id) or await self._build_again(principal, session_id)

    def _known(self, worker: str, session_id: UUID) -> SyncSession | None:
        session = self._registry.get(worker)
        return session if isinstance(session, SyncSession) and session.id == session_id else None

    async def _build_again(self, principal: Principal, session_id: UUID) -> SyncSession | None:
        """Take over a session that another replica began, or None if it is not the worker's current one."""
        row = await self._database.first(agents.one_worker(principal.worker))
        desired = await self._desired.read(principal.worker)
        if (known := self._known(principal.worker, session_id)) is not None:  # a call at the same time was faster
            return known
        proof = (session_id, principal.identity, principal.credential_id)
        if row is None or (row.session_id, row.identity, row.credential_id) != proof:
            return None
        session = self._registry.begin(SyncSession, principal)
        session.id = session_id
        session.desired = desired
        session.queues = frozenset(row.queues)
        session.leases.concurrency = row.concurrency
        session.withdrawn = row.maintenance_acknowledged or row.terminating
        session.cordon_reason = row.cordon_reason
        session.opened = True
        self._registry.add(session)
        return session


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
