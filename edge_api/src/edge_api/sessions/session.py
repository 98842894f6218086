"""One worker's session, whatever transport carries it: its state, and what can be done to it."""

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import Row

from edge_api.dispatch.assign import Waiter
from edge_api.errors import DatabaseAwayError, EdgeApiError
from edge_api.fleet.desired import Wishes, effective_concurrency, effective_queues
from edge_api.identity.authenticator import Grant, Principal
from edge_api.sessions.hub import Hub
from edge_api.sessions.lease_view import LeaseView, Phase
from edge_api.sessions.outbox import Outbox
from edge_api.sessions.registry import Transport
from edge_api.sessions.writers import LeaseCheck, LeaseState
from edge_protocol.frames import Ack, Cancel, Error, Fenced, Frame, Hello, Job
from edge_protocol.job_state import HELD_STATES, JobState

PENDING_MOST: Final = 10_000
"""Frames whose effect is not durable yet; the session's reader waits while there are more."""

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session ended, and the WebSocket close code that says so."""

    code: str
    close_code: int


class Session:
    """State of one session: who it is, what its worker holds, and the frames on their way to it."""

    def __init__(self, hub: Hub, principal: Principal, transport: Transport) -> None:
        self.hub = hub
        self.principal = principal
        self.worker = principal.worker
        self.transport = transport
        self.id: UUID = uuid4()
        self.hello: Hello | None = None
        self.outbox = Outbox()
        self.leases = LeaseView(0, hub.settings.accept_timeout_s)
        self.wishes = Wishes()
        self.queues: frozenset[str] = frozenset()
        self.opened = False
        self.listening = transport == "websocket"
        """Whether a job that is sent now arrives now; a long-poll session listens only during a held call."""
        self.withdrawn = False
        """The worker takes no jobs for a reason of its own: it starts, drains, or is in maintenance."""
        self.cordon_reason: str | None = None
        """Set by the server, for example a version outside the skew policy."""
        self.refused = False
        """The store refused a claim for it; the dispatcher leaves it out until its next tick."""
        self.worked = False
        """Its leases have changed since the last heartbeat."""
        self.last_heard = time.monotonic()
        self.ending: Ending | None = None
        self._regranted = False
        self._pending = 0
        self._pending_bytes = 0
        self._settled = asyncio.Event()

    # ---- jobs ----

    def waiter(self, heard_after: float) -> Waiter | None:
        """Return the session as the dispatcher sees it, or None if it is to get no job now."""
        if (
            not self.opened
            or not self.listening
            or self.withdrawn
            or self.refused
            or self.wishes.cordoned
            or self.cordon_reason is not None
            or not self.heard_since(heard_after)
        ):
            return None
        return Waiter(self.id, self.worker, self.principal.team, self.queues, self.leases.free, self.leases.concurrency)

    def heard_since(self, moment: float) -> bool:
        """Return whether the worker gave a sign of life at or after a moment."""
        return self.last_heard >= moment

    def offer(self, row: Row[Any]) -> bool:
        """Send a claimed job; False if the session has ended, so that the claim must be released."""
        if self.ending is not None:
            return False
        self.leases.add(row.lease_id, row.slots, Phase.OFFERED, time.monotonic())
        self.worked = True
        self.send_job(row)
        return True

    def withdraw(self, *, withdrawn: bool) -> None:
        """Note whether the worker takes no jobs for a reason of its own."""
        if self.withdrawn and not withdrawn:
            self.hub.dispatcher.wake()
        self.withdrawn = withdrawn

    def send_job(self, row: Row[Any]) -> None:
        """Put a `job` frame into the outbox."""
        self.send(
            Job(
                lease_id=row.lease_id,
                job_id=row.id,
                kind=row.kind,
                slots=row.slots,
                log_path=row.log_path,
                workload=row.workload,
            )
        )

    def settle(self, lease: UUID) -> None:
        """Forget a lease; its slots may take another job."""
        self.worked = True
        if self.leases.drop(lease, time.monotonic()):
            self.hub.dispatcher.wake()

    def fence(self, lease: UUID, frame: str) -> None:
        """Tell the worker that a lease is not good (any more)."""
        self.hub.metrics.fenced.labels(frame).inc()
        self.hub.refusals.check_lease(self.worker, lease, frame)
        self.send(Fenced(lease_id=lease, reason="The lease is not good any more: the job was given up or taken back."))
        self.settle(lease)

    def cordon(self, reason: str | None) -> None:
        """Give the worker no job, or (None) jobs again; it keeps what it has."""
        self.cordon_reason = reason
        self.hub.dispatcher.wake()

    # ---- checks of leases ----

    def check(self, leases: Sequence[UUID]) -> None:
        """Look up leases, and tell the worker which are not good."""
        asked = time.monotonic()
        future = self.hub.checks.submit(LeaseCheck(self.worker, leases))
        self.track(future, lambda states: self.apply_states(leases, states, asked))

    def apply_states(self, leases: Sequence[UUID], states: Mapping[UUID, LeaseState], asked: float) -> None:
        """Take over what the store said at the time `asked` or later."""
        for lease in leases:
            holding = self.leases.get(lease)
            if (holding is not None and holding.reporting) or self.leases.settled_after(lease, asked):
                continue
            found = states.get(lease)
            if found is not None and found.state in HELD_STATES:
                self.keep(lease, found)
            elif found is not None and found.state in (JobState.SUCCEEDED, JobState.FAILED):
                # Reported by way of another session or replica; the worker may not know that yet.
                self.send(Ack(of="report", lease_id=lease))
                self.settle(lease)
            elif holding is None or holding.phase is Phase.OFFERED:
                self.fence(lease, "held")
            elif holding.phase is Phase.RUNNING:
                self.leases.cancel(lease, time.monotonic())
                self.send(Cancel(lease_id=lease, reason="The job was taken back."))

    def keep(self, lease: UUID, found: LeaseState) -> None:
        """Note a lease that is good."""
        running = found.state is JobState.RUNNING
        self.leases.add(lease, found.slots, Phase.RUNNING if running else Phase.OFFERED, time.monotonic())
        if running:
            self.leases.accepted(lease)

    # ---- wishes ----

    def refresh_wishes(self) -> None:
        """Read again what is desired of the worker, and tell it what is new."""
        told = (self.wishes.version, self.queues)
        self.track(self.hub.wishes.submit(self), lambda _: self._tell_wishes(told))

    def _tell_wishes(self, told: tuple[int, frozenset[str]]) -> None:
        if (self.wishes.version, self.queues) != told:
            self.send_wishes()

    def regrant(self, grant: Grant) -> None:
        """Take over what the credential grants now; queues are worked out anew with the next look at the wishes."""
        self._regranted = self._regranted or grant.queues != self.principal.queues
        self.principal = dataclasses.replace(self.principal, queues=grant.queues, expires_at=grant.expires_at)

    def take_wishes(self, wishes: Wishes) -> bool:
        """Work out queues and slots anew; False if there is nothing new."""
        if (wishes == self.wishes and not self._regranted) or self.ending is not None:
            return False
        self._regranted = False
        if self.hello is None:
            # Taken over from another replica: what the worker asked for itself is not stored.
            self.end("session_unknown", "What is desired has changed. Say hello again.", fatal=True)
            return False
        self.wishes = wishes
        self.queues = effective_queues(self.hello.queues, self.principal.queues, wishes)
        self.leases.concurrency = effective_concurrency(self.hello.concurrency, wishes)
        self.hub.dispatcher.wake()
        return True

    def send_wishes(self) -> None:
        """Send `desired`, whole."""
        self.send(self.wishes.frame(self.queues, self.leases.concurrency))

    # ---- sending and ending ----

    def send(self, frame: Frame) -> None:
        """Put a frame into the outbox."""
        if not self.outbox.put(frame):
            log.warning("a worker does not read", extra={"worker": self.worker})
            self.outbox.take()
            self.end("slow_consumer", "The worker did not read its frames.")

    def complain(self, message: str) -> None:
        """Tell that a frame could not be read; the session goes on."""
        self.hub.metrics.refused_frames.inc()
        self.send(Error(code="bad_frame", message=message))

    def end(self, code: str, message: str, *, fatal: bool = False, close_code: int = 1008) -> None:
        """End the session with a reason; what is in the outbox is still delivered."""
        if self.ending is not None:
            return
        log.info("session ends", extra={"worker": self.worker, "session": self.id, "code": code})
        self.send(Error(code=code, message=message, fatal=fatal))
        self.detach(Ending(code, close_code))

    def detach(self, ending: Ending | None = None) -> None:
        """Take the session out of service, as when its connection is gone. Leases stay as they are in the store."""
        if self.ending is None:
            self.ending = ending or Ending("disconnected", 1000)
        self.hub.registry.remove(self)
        self.outbox.close()
        self._settled.set()

    def supersede(self) -> None:
        """End since another session of the worker has begun."""
        self.end("superseded", "The worker has connected anew; this session is an old one.")

    def end_expired(self) -> None:
        """End since the credential's time is over; not for good, since the worker may have its successor."""
        self.end(
            "credential_expired", "The worker's credential has expired. Connect with its successor, or enrol again."
        )

    def end_silent(self, window_s: float) -> None:
        """End since nothing was heard of the worker."""
        self.end("silent", f"Nothing was heard of the worker for {window_s:g} s. Connect again.", close_code=1001)

    # ---- what is under way ----

    def track(self, future: asyncio.Future[Result], then: Callable[[Result], None], weight: int = 0) -> None:
        """Call `then` with the result of a batch item; `weight` are the bytes that it keeps in memory."""
        self._pending += 1
        self._pending_bytes += weight
        future.add_done_callback(partial(self._done, then, weight))

    def _done(self, then: Callable[[Result], None], weight: int, future: asyncio.Future[Result]) -> None:
        self._pending -= 1
        self._pending_bytes -= weight
        self._settled.set()
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            then(future.result())
        elif isinstance(error, DatabaseAwayError):
            self.end("database_away", "The database is away. Connect again; nothing is lost.", close_code=1013)
        elif isinstance(error, EdgeApiError):
            self.complain("The database refuses the content of a frame.")
        else:
            raise error

    async def has_room(self) -> None:
        """Wait while more of the worker's frames are under way than it should send."""
        most_bytes = 2 * self.hub.settings.log_window_bytes
        while (self._pending > PENDING_MOST or self._pending_bytes > most_bytes) and self.ending is None:
            self._settled.clear()
            await self._settled.wait()

    async def all_settled(self) -> None:
        """Wait until the effect of every frame received is durable."""
        while self._pending and self.ending is None:
            self._settled.clear()
            await self._settled.wait()
