"""One worker's session, whatever transport carries it: its state, and the few things that can be done to it.

What a frame of the worker sets off is in `edge_api.frames`, one file per frame.
"""

import asyncio
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, Literal, TypeVar
from uuid import UUID, uuid4

from edge_api.errors import DatabaseAwayError, EdgeApiError
from edge_api.fleet.desired import DesiredState, effective_concurrency, effective_queues
from edge_api.held_bytes import HeldBytes
from edge_api.identity.authenticator import Grant, Principal
from edge_api.identity.refusals import Refusals
from edge_api.metrics import Metrics
from edge_api.sessions.lease_view import LeaseView, Phase
from edge_protocol.frames import Error, Fenced, Frame, Hello, Job
from edge_store.jobs.claims import ClaimedJob
from edge_store.jobs.leases import HeldJob

PENDING_MOST: Final = 10_000
"""Frames whose effect is not durable yet; the session's reader waits while there are more."""

ITEM_OVERHEAD: Final = 1024
"""Bytes that a frame takes besides its content while it waits for the database."""

FRAMES_MOST: Final = 20_000
"""A worker that does not read for so long is gone; its frames must not fill the memory."""

Transport = Literal["websocket", "sync"]
Result = TypeVar("Result")

log = logging.getLogger(__name__)


class Outbox:
    """Frames on their way to one worker, oldest first; after the close, what is in it is still taken.

    They are few and small: nothing here waits behind log bytes. Their bytes are counted while it is open.
    """

    def __init__(self, held: HeldBytes) -> None:
        self._held = held
        self._bytes = 0
        self._frames: deque[str] = deque()
        self._changed = asyncio.Event()
        self.closed = False

    def put(self, frame: Frame) -> bool:
        """Add a frame; False if there is no room. After the close nothing is added."""
        if self.closed:
            return True
        if len(self._frames) >= FRAMES_MOST:
            return False
        text = frame.model_dump_json()
        self._frames.append(text)
        self._bytes += len(text)
        self._held.add(len(text))
        self._changed.set()
        return True

    def close(self) -> None:
        """Take no more frames."""
        self.closed = True
        self._uncount(self._bytes)
        self._changed.set()

    def nudge(self) -> None:
        """Let everybody who waits look again."""
        self._changed.set()

    @property
    def ready(self) -> bool:
        """Whether there is a reason not to wait."""
        return bool(self._frames) or self.closed

    def take(self) -> list[str]:
        """Return all frames."""
        frames = list(self._frames)
        self._frames.clear()
        self._uncount(self._bytes)
        return frames

    def next(self) -> str | None:
        """Return the oldest frame."""
        if not self._frames:
            return None
        text = self._frames.popleft()
        self._uncount(len(text))
        return text

    def _uncount(self, size: int) -> None:
        size = min(size, self._bytes)
        self._bytes -= size
        self._held.remove(size)

    async def changed(self) -> None:
        """Wait until something may have changed; look at `ready` before each wait."""
        self._changed.clear()
        await self._changed.wait()


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session ended, and the WebSocket close code for it."""

    code: str
    close_code: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The parts of the process that a session needs, the same for all sessions."""

    accept_timeout_s: float
    pending_bytes_most: int
    """Bytes of log frames that one session may have under way."""
    held: HeldBytes
    metrics: Metrics
    refusals: Refusals
    room_freed: Callable[[], None]
    """Called when the session can take a job that it could not take before."""
    ended: Callable[["Session"], None]
    """Called when the session is out of service."""


class Session:
    """State of one session: who it is, what its worker holds, and the frames on their way to it."""

    transport: ClassVar[Transport] = "websocket"

    def __init__(self, principal: Principal, surroundings: Surroundings) -> None:
        self._around = surroundings
        self.principal = principal
        self.worker = principal.worker
        self.id: UUID = uuid4()
        self.hello: Hello | None = None
        self.outbox = Outbox(surroundings.held)
        self.leases = LeaseView(0, surroundings.accept_timeout_s)
        self.desired = DesiredState()
        self.queues: frozenset[str] = frozenset()
        self.opened = False
        self.listening = self.transport == "websocket"
        """Whether a job that is sent now arrives now; a long-poll session listens only during a held call."""
        self.withdrawn = False
        """The worker takes no jobs for a reason of its own: it starts, drains, or is in maintenance."""
        self.cordon_reason: str | None = None
        """Set by the server, for example because of a version outside the skew policy."""
        self.claim_refused = False
        """The store refused a claim for it; the dispatcher leaves it out until its next tick."""
        self.worked = False
        """Its leases have changed since the last heartbeat."""
        self.sampled_minute = 0
        """The minute of the last heartbeat of which a sample was kept."""
        self.last_heard = time.monotonic()
        self.ending: Ending | None = None
        self._regranted = False
        self._pending = 0
        self._pending_bytes = 0
        self._progress = asyncio.Event()

    # ---- jobs and leases ----

    def can_take_jobs(self, heard_after: float) -> bool:
        """Return whether the worker may be given jobs now, if it has room: it was heard after a moment, and serves."""
        return (
            self.opened
            and self.listening
            and not self.withdrawn
            and not self.claim_refused
            and not self.desired.cordoned
            and self.cordon_reason is None
            and self.heard_since(heard_after)
            and not self._around.held.full
        )

    @property
    def ended(self) -> bool:
        """Whether it is out of service."""
        return self.ending is not None

    def heard_since(self, moment: float) -> bool:
        """Return whether the worker gave a sign of life at or after a moment."""
        return self.last_heard >= moment

    def offer(self, claimed: ClaimedJob) -> bool:
        """Send a claimed job; False if the session has ended, so that the claim must be released."""
        if self.ending is not None:
            return False
        self.leases.add(claimed.lease_id, claimed.slots, Phase.OFFERED, time.monotonic())
        self.worked = True
        self.send_job(claimed)
        return True

    def send_job(self, claimed: ClaimedJob | HeldJob) -> None:
        """Put a `job` frame into the outbox."""
        self.send(
            Job(
                lease_id=claimed.lease_id,
                job_id=claimed.id,
                kind=claimed.kind,
                slots=claimed.slots,
                log_path=claimed.log_path,
                workload=claimed.workload,
                outage_tolerance_s=claimed.outage_tolerance_s,
            )
        )

    def release(self, lease: UUID) -> None:
        """Forget a lease; its slots may take another job."""
        self.worked = True
        if self.leases.drop(lease, time.monotonic()):
            self._around.room_freed()

    def fence(self, lease: UUID, frame: str) -> None:
        """Report to the worker that a lease named in a frame is stale or foreign, and release it."""
        self._around.metrics.fenced.labels(frame).inc()
        self._around.refusals.check_lease(self.worker, lease, frame)
        self.send(Fenced(lease_id=lease, reason="The lease is no longer valid: the job was given up or taken back."))
        self.release(lease)

    def room_freed(self) -> None:
        """Let the dispatcher look whether there is a job for the worker."""
        self._around.room_freed()

    def withdraw(self, *, withdrawn: bool) -> None:
        """Set whether the worker takes no jobs for a reason of its own."""
        if self.withdrawn and not withdrawn:
            self._around.room_freed()
        self.withdrawn = withdrawn

    def cordon(self, reason: str | None) -> None:
        """Give the worker no more jobs, or (None) jobs again; it keeps what it has."""
        self.cordon_reason = reason
        self._around.room_freed()

    # ---- desired state ----

    def regrant(self, grant: Grant) -> None:
        """Take over what the credential grants now; `apply_desired` derives the queues from it."""
        self._regranted = self._regranted or grant.queues != self.principal.queues
        self.principal = dataclasses.replace(self.principal, queues=grant.queues, expires_at=grant.expires_at)

    def apply_desired(self, desired: DesiredState) -> bool:
        """Derive queues and slots from the desired state; False if nothing has changed."""
        if (desired == self.desired and not self._regranted) or self.ending is not None:
            return False
        self._regranted = False
        if self.hello is None:
            # Taken over from another replica: the queues and slots that the worker asked for are not stored.
            self.end("session_unknown", "The desired state has changed. Say hello again.", fatal=True)
            return False
        self.desired = desired
        self.queues = effective_queues(self.hello.queues, self.principal.queues, desired)
        self.leases.concurrency = effective_concurrency(self.hello.concurrency, desired)
        self._around.room_freed()
        return True

    def send_desired(self) -> None:
        """Send the whole `desired` frame."""
        self.send(self.desired.frame(self.queues, self.leases.concurrency))

    # ---- sending and ending ----

    def send(self, frame: Frame) -> None:
        """Put a frame into the outbox."""
        if not self.outbox.put(frame):
            log.warning("a worker does not read", extra={"worker": self.worker})
            self.outbox.take()
            self.end("slow_consumer", "The worker did not read its frames.")

    def complain(self, message: str) -> None:
        """Report that a frame could not be read; the session goes on."""
        self._around.metrics.refused_frames.inc()
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
        self._around.ended(self)
        self.outbox.close()
        self._progress.set()

    def supersede(self) -> None:
        """End because another session of the worker has begun."""
        self.end("superseded", "The worker has connected again; this session is an old one.")

    def end_expired(self) -> None:
        """End because the credential has expired; not fatal, since the worker may have its successor."""
        self.end(
            "credential_expired", "The worker's credential has expired. Connect with its successor, or enrol again."
        )

    def end_silent(self, window_s: float) -> None:
        """End because nothing was heard from the worker."""
        self.end("silent", f"Nothing was heard from the worker for {window_s:g} s. Connect again.", close_code=1001)

    def end_database_away(self, kept: str = "nothing is lost") -> None:
        """End because the database is away; not fatal. `kept` says what the worker need not worry about."""
        self.end("database_away", f"The database is away. Connect again; {kept}.", close_code=1013)

    # ---- what is under way ----

    def track(self, future: asyncio.Future[Result], then: Callable[[Result], None], weight: int = 0) -> None:
        """Call `then` with the result of a batch item; `weight` is the number of bytes of its content."""
        weight += ITEM_OVERHEAD
        self._pending += 1
        self._pending_bytes += weight
        self._around.held.add(weight)
        future.add_done_callback(partial(self._done, then, weight))

    def _done(self, then: Callable[[Result], None], weight: int, future: asyncio.Future[Result]) -> None:
        self._pending -= 1
        self._pending_bytes -= weight
        self._around.held.remove(weight)
        self._progress.set()
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            then(future.result())
        elif isinstance(error, DatabaseAwayError):
            self.end_database_away()
        elif isinstance(error, EdgeApiError):
            self.complain("The database refuses the content of a frame.")
        else:
            raise error

    async def room_for_frames(self) -> None:
        """Wait while more of the worker's frames are under way than it should send, or the process holds too much.

        The latter happens only if frames other than logs fill what logs leave; who has none of them does not wait.
        """
        most_bytes = self._around.pending_bytes_most
        while self.ending is None and (
            self._pending > PENDING_MOST
            or self._pending_bytes > most_bytes
            or (self._pending and self._around.held.full)
        ):
            self._progress.clear()
            await self._progress.wait()

    async def all_durable(self) -> None:
        """Wait until the effect of every frame received is durable."""
        while self._pending and self.ending is None:
            self._progress.clear()
            await self._progress.wait()
