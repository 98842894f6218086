"""When a task must end because its worker is out of contact: pure decisions, used by the agent and by runners.

The control plane gives a job up at `max(last heartbeat received, accept stored) + tolerance`. The worker does not know
those two moments, but it knows earlier ones: when it sent the last heartbeat that was acknowledged, and when it first
sent the accept. From these it counts, and ends the task by `kill_grace_s` and a margin sooner. So the task is over
before anybody else may run it, however long frames were on their way.

All times are seconds of `boot_clock`.
"""

import sys
import time
from dataclasses import dataclass

from edge_protocol.limits import FENCE_MARGIN_S

RUNNER_LATER_S = 2.0
"""Seconds after the deadline at which a runner ends a task, since its agent has not: it may be stopped."""
LOOK_S = 1.0
"""Seconds between looks at the clock: no wait of a process counts the time for which its host was suspended."""


def boot_clock() -> float:
    """Return the seconds since the host started; they include suspended ones where the system counts those."""
    if sys.platform != "linux":
        return time.monotonic()
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """For how long one task survives without contact."""

    accepted_at: float
    """When the first `accept` of its lease was sent."""
    tolerance_s: float
    kill_grace_s: float
    """Seconds that the end of the task may take."""


class Contact:
    """The last moment at which the control plane certainly could hear this worker."""

    def __init__(self) -> None:
        self.at: float | None = None
        self._hello_at: float | None = None

    def saying_hello(self, now: float) -> None:
        """Note that a `hello` is sent."""
        self._hello_at = now

    def welcomed(self, now: float) -> bool:
        """Note that the last `hello` was stored; return whether that is news."""
        return self._hello_at is not None and self.renew(self._hello_at, now)

    def acknowledged(self, mark: int, now: float) -> bool:
        """Note that the heartbeat with this mark was stored; return whether that is news."""
        return self.renew(mark / 1000, now)

    def renew(self, at: float, now: float) -> bool:
        """Note that something sent at `at` was stored; return whether that is news."""
        if at > now or (self.at is not None and at <= self.at):
            return False
        self.at = at
        return True

    def since(self, tolerance: Tolerance) -> float:
        """Return the moment from which a task's tolerance counts."""
        return tolerance.accepted_at if self.at is None else max(self.at, tolerance.accepted_at)

    def deadline(self, tolerance: Tolerance) -> float:
        """Return when to begin to end a task."""
        return self.since(tolerance) + tolerance.tolerance_s - tolerance.kill_grace_s - FENCE_MARGIN_S

    def grace_s(self, tolerance: Tolerance, now: float, later_s: float = 0.0) -> float:
        """Return how long the end of a task may take that is begun now: less if the deadline was missed."""
        return max(0.0, min(tolerance.kill_grace_s, self.deadline(tolerance) + later_s + tolerance.kill_grace_s - now))

    def reason(self, tolerance: Tolerance, now: float) -> str:
        """Return why a task is ended, for its report and its log."""
        silent = _duration(now - self.since(tolerance))
        return f"out of contact with the edge API for {silent}; the task was ended before the platform gives its job up"


def mark_of(now: float) -> int:
    """Return the mark of a heartbeat that is sent now: whole milliseconds, rounded down."""
    return int(now * 1000)


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    parts = ((whole // 3600, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value) or "0 s"
