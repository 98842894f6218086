"""Which pieces of task logs are kept while the database is slower than the workers (ADR 0033).

Logs may fill three quarters of the bytes that this process may hold. A piece beyond that is not kept: once there is
room, its worker is asked where that log ends in the store, and sends it again from there. So a worker's socket is read
all the time, and its heartbeats, accepts and reports are never stuck behind logs, neither its own nor those of others.
"""

import time
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

from edge_api.held_bytes import HeldBytes
from edge_api.metrics import Metrics

LOG_SHARE: Final = 0.75
GRANT_S: Final = 5.0
"""Reserved room that is not used for so long goes to the next one: the log has ended, or the worker is gone."""
GRANT_FACTOR: Final = 17 / 16
"""A window arrives in pieces, of which each takes a little more than its bytes."""


class Sender(Protocol):
    """Who sends logs: a session."""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes from it."""


SenderT = TypeVar("SenderT", bound=Sender)


class LogRoom(Generic[SenderT]):
    """Decides which pieces of log are kept. Senders whose pieces were not kept get room in turn.

    `ask` is called with a sender and its logs once `window_bytes` are reserved for it.
    """

    def __init__(
        self,
        held: HeldBytes,
        metrics: Metrics,
        window_bytes: int,
        ask: Callable[[SenderT, set[UUID]], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._held = held
        self._metrics = metrics
        # A bound of less than one window must not keep everybody waiting.
        self._grant_bytes = int(min(GRANT_FACTOR * window_bytes, LOG_SHARE * held.most))
        self._ask = ask
        self._now = now
        self._waiting: dict[SenderT, set[UUID]] = {}
        """The logs of which a piece was not kept; who has waited longest is first."""
        self._granted: dict[SenderT, tuple[int, float]] = {}
        """Bytes that are reserved for a sender, and until when."""

    def admits(self, sender: SenderT, log: UUID, size: int) -> bool:
        """Return whether a piece may be kept; the caller counts it. If not, its sender is asked for it later."""
        left, _ = self._granted.get(sender, (0, 0.0))
        if size <= left:
            self._granted[sender] = (left - size, self._now() + GRANT_S)
            self._held.add(-size)
            return True
        if left:
            self._take_back(sender)
        if not self._waiting and self._held.fits(size, LOG_SHARE):
            return True
        self._metrics.deferred_logs.inc()
        self._waiting.setdefault(sender, set()).add(log)
        return False

    def give(self) -> None:
        """Reserve room for those who have waited longest, and ask them."""
        now = self._now()
        for sender, (left, until) in list(self._granted.items()):
            if left == 0 or until < now or sender.ended:
                self._take_back(sender)
        while self._waiting and self._held.fits(self._grant_bytes, LOG_SHARE):
            sender = next(iter(self._waiting))
            logs = self._waiting.pop(sender)
            if not sender.ended:
                self._take_back(sender)
                self._granted[sender] = (self._grant_bytes, now + GRANT_S)
                self._held.add(self._grant_bytes)
                self._ask(sender, logs)

    def _take_back(self, sender: SenderT) -> None:
        left, _ = self._granted.pop(sender, (0, 0.0))
        self._held.add(-left)
