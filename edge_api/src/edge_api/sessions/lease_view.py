"""The leases that one session believes its worker holds, compared with those that the worker reports.

The server counts the free slots by itself: the worker's own number does not include the jobs on their way to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from uuid import UUID

HEARTBEATS_TO_BELIEVE: Final = 2
"""A task counts as gone when so many heartbeats in a row leave it out: one alone may have crossed its accept."""

REMEMBER_S: Final = 60.0
"""A lease that was released this recently may still be named by a heartbeat that was on its way."""


class Phase(Enum):
    """How far a lease has come."""

    OFFERED = "offered"
    RUNNING = "running"
    CANCELLED = "cancelled"
    """The job was taken back, but its process still takes its slots."""


@dataclass(slots=True)
class Holding:
    """One lease of the worker."""

    slots: int
    phase: Phase
    since: float
    missed: int = 0
    reporting: bool = False
    """A report is being written; meanwhile nothing else is done about the lease."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Where a heartbeat and the view differ."""

    unknown: list[UUID] = field(default_factory=list)
    """The worker holds it, the view does not know it."""
    overdue: list[UUID] = field(default_factory=list)
    """It was offered, and not accepted in time: another worker may hold it by now."""
    gone: list[UUID] = field(default_factory=list)
    """It was running, and is missing from enough heartbeats."""


class LeaseView:
    """The leases of one session. Times are those of one monotonic clock, in seconds."""

    def __init__(self, concurrency: int, accept_timeout_s: float) -> None:
        self.concurrency = concurrency
        self._accept_timeout_s = accept_timeout_s
        self._held: dict[UUID, Holding] = {}
        self._released: dict[UUID, float] = {}
        self._used = 0

    @property
    def free(self) -> int:
        """Slots that can take a job now; 0 while more are taken than the worker has."""
        return max(0, self.concurrency - self._used)

    def ids(self, before: float | None = None) -> list[UUID]:
        """Return the leases known, or those known before a moment."""
        return [lease for lease, holding in self._held.items() if before is None or holding.since < before]

    def get(self, lease: UUID) -> Holding | None:
        """Return what is known of a lease."""
        return self._held.get(lease)

    def add(self, lease: UUID, slots: int, phase: Phase, now: float) -> None:
        """Note a lease; one that is known stays as it is."""
        if lease not in self._held:
            self._held[lease] = Holding(slots, phase, now)
            self._used += slots

    def accepted(self, lease: UUID) -> None:
        """Note that the store has the lease as running."""
        if (holding := self._held.get(lease)) is not None and holding.phase is Phase.OFFERED:
            holding.phase = Phase.RUNNING

    def reporting(self, lease: UUID, *, begun: bool) -> None:
        """Note that a report is being written, or that this has failed."""
        if (holding := self._held.get(lease)) is not None:
            holding.reporting = begun

    def cancel(self, lease: UUID, now: float) -> None:
        """Note that a `cancel` was sent to the worker."""
        if (holding := self._held.get(lease)) is not None:
            holding.phase = Phase.CANCELLED
            holding.since = now

    def forget_cancelled(self, before: float) -> None:
        """Forget leases that were cancelled before a moment: their end was reported elsewhere."""
        for lease, holding in list(self._held.items()):
            if holding.phase is Phase.CANCELLED and holding.since < before:
                self.drop(lease, before)

    def drop(self, lease: UUID, now: float) -> bool:
        """Forget a lease and return whether that freed slots."""
        self._released[lease] = now
        holding = self._held.pop(lease, None)
        if holding is None:
            return False
        self._used -= holding.slots
        return True

    def released_after(self, lease: UUID, moment: float) -> bool:
        """Return whether a lease was released at or after a moment."""
        return self._released.get(lease, float("-inf")) >= moment

    def compare(self, reported: Iterable[UUID], now: float) -> Discrepancy:
        """Compare with a heartbeat. Cancelled leases that are missing from enough heartbeats are forgotten here."""
        for lease in [lease for lease, when in self._released.items() if when < now - REMEMBER_S]:
            del self._released[lease]
        held = set(reported)
        found = Discrepancy([lease for lease in held if lease not in self._held and lease not in self._released])
        forgotten: list[UUID] = []
        for lease, holding in self._held.items():
            if lease in held or holding.reporting:
                holding.missed = 0
                continue
            if holding.phase is Phase.OFFERED:
                if now - holding.since > self._accept_timeout_s:
                    found.overdue.append(lease)
                continue
            holding.missed += 1
            if holding.missed >= HEARTBEATS_TO_BELIEVE:
                (found.gone if holding.phase is Phase.RUNNING else forgotten).append(lease)
        for lease in forgotten:
            self.drop(lease, now)
        return found
