r"""How a worker stops.

    WORKING --stop request--> DRAINING --tasks done--------------------------> FLUSHING --delivered or time up--> DONE
                                 \--timeout or second request--> STOPPING --tasks gone--/

Each further stop request skips the wait of the current step.
"""

import asyncio
import logging
import signal
import time
from dataclasses import dataclass, field
from enum import Enum, auto

from edge_worker.connection.reconnect import Connection
from edge_worker.tasks.leases import Leases, Phase
from edge_worker.tasks.outcome import DRAIN_TIMEOUT
from edge_worker.tasks.work import Work

log = logging.getLogger(__name__)

_CHECK_S = 0.5
"""Seconds between checks of the deadlines during a stop."""
_BYE_S = 5.0
"""Seconds for the last frames and the `bye`."""


class Step(Enum):
    """Steps of a stop, in order."""

    WORKING = auto()
    DRAINING = auto()
    """Tasks go on; the worker takes no new ones."""
    STOPPING = auto()
    """Tasks are being ended."""
    FLUSHING = auto()
    """Tasks have ended; reports and logs are delivered."""
    DONE = auto()


@dataclass(slots=True)
class Drain:
    """The steps of a stop: pure decisions. Times are seconds of one monotonic clock."""

    drain_timeout_s: float
    kill_grace_s: float
    flush_timeout_s: float
    step: Step = Step.WORKING
    deadline: float | None = field(default=None)
    """When the wait of the current step ends."""

    @property
    def requested(self) -> bool:
        """Whether a stop was requested."""
        return self.step is not Step.WORKING

    def request(self, now: float) -> None:
        """Request a stop; a repeated request skips the wait of the current step."""
        if self.step is Step.WORKING:
            self._enter(Step.DRAINING, now)
        elif self.step is not Step.DONE:
            self.deadline = now

    def advance(self, now: float, *, tasks: int, undelivered: bool) -> Step:
        """Advance as far as `tasks` (still there) and `undelivered` (reports or logs) allow, and return the step."""
        if self.step is Step.DRAINING and tasks and self._over(now):
            self._enter(Step.STOPPING, now)
        if self.step in (Step.DRAINING, Step.STOPPING) and (
            not tasks or (self.step is Step.STOPPING and self._over(now))
        ):
            self._enter(Step.FLUSHING, now)
        if self.step is Step.FLUSHING and (not undelivered or self._over(now)):
            self._enter(Step.DONE, now)
        return self.step

    def _over(self, now: float) -> bool:
        return self.deadline is not None and now >= self.deadline

    def _enter(self, step: Step, now: float) -> None:
        self.step = step
        waits = {
            Step.DRAINING: self.drain_timeout_s,
            # Killed processes end soon after SIGKILL; one that the kernel cannot kill must not block the stop.
            Step.STOPPING: self.kill_grace_s + 10,
            Step.FLUSHING: self.flush_timeout_s,
        }
        self.deadline = now + waits[step] if step in waits else None


class GracefulStop:
    """Carries a stop out: from the request to the `bye`."""

    def __init__(self, drain: Drain, leases: Leases, work: Work, connection: Connection) -> None:
        self._drain = drain
        self._leases = leases
        self._work = work
        self._connection = connection
        self._signalled = False

    @property
    def requested(self) -> bool:
        """Whether a stop was requested."""
        return self._drain.requested

    def on_signal(self, number: signal.Signals) -> None:
        """Drain and stop; a second signal skips the wait.

        The first signal never skips it, even if a stop was requested before by other means: Kubernetes sends a signal
        to a worker that it deletes after a remote shutdown.
        """
        first, self._signalled = not self._signalled, True
        if not (first and self.requested):
            self.request(f"signal {number.name}")

    def request(self, reason: str) -> None:
        """Drain and stop; a repeated request skips the wait of the current step."""
        log.info("stopping (%s): step %s, %d tasks", reason, self._drain.step.name.lower(), self._leases.active)
        self._drain.request(time.monotonic())
        self._leases.draining = True
        self._work.changed.set()
        self._connection.beat_now()

    async def wait(self) -> None:
        """Return when a stop was requested and everything is done that can be done."""
        tasks_ended = False
        while True:
            step = self._drain.advance(time.monotonic(), tasks=self._tasks(), undelivered=len(self._leases) > 0)
            if step is Step.DONE:
                return
            if step is Step.STOPPING and not tasks_ended:
                tasks_ended = True
                self._work.end_all(DRAIN_TIMEOUT)
            self._work.changed.clear()
            try:
                async with asyncio.timeout(_CHECK_S if self.requested else None):
                    await self._work.changed.wait()
            except TimeoutError:
                continue

    def _tasks(self) -> int:
        """Return how many tasks a stop waits for; without a session an offer cannot become a task."""
        offered = self._leases.in_phase(Phase.OFFERED) if self._connection.welcome is not None else []
        return len(self._leases.in_phase(Phase.RUNNING)) + len(offered)

    async def disconnect(self, connection: asyncio.Task[None]) -> None:
        """Send the last frames and `bye`, and end the task that keeps the connection."""
        if len(self._leases):
            log.warning("not delivered, kept for the next start: %d leases", len(self._leases))
        if self._connection.finish(bye=not self._leases.held):
            await asyncio.wait({connection}, timeout=_BYE_S)
        connection.cancel()
