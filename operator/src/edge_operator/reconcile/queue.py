"""The keys that wait for a pass: each at most once, never in two passes at once, and with its own backoff.

kopf's queues are not used (ADR 0023): they are per watched object, while a pass is also due when the fleet changes,
when another object changes, or after a delay.
"""

import asyncio
import heapq
import random
import time
from collections import OrderedDict
from dataclasses import dataclass

from edge_operator import metrics

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 60.0


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """The object of a pass."""

    kind: str
    namespace: str
    name: str


class WorkQueue:
    """A queue of keys for one event loop; not thread safe."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Key, float] = OrderedDict()
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._later: list[tuple[float, Key]] = []
        self._due: dict[Key, float] = {}
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        """Request a pass as soon as possible."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = time.monotonic()
            self._changed()

    def add_later(self, key: Key, delay_s: float) -> None:
        """Request a pass after a delay, or earlier if another request is due before."""
        due = time.monotonic() + delay_s
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._later, (due, key))
            self._wake.set()

    def failed(self, key: Key) -> float:
        """Request a pass after a failure; return the delay, which doubles with each failure in a row."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay: float = min(BACKOFF_FIRST_S * 2 ** min(count, 16), BACKOFF_MAX_S) * random.uniform(0.5, 1.0)  # noqa: S311
        self.add_later(key, delay)
        return delay

    def succeeded(self, key: Key) -> None:
        """Reset the backoff of a key."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """Wait for a key and take it; the caller must call `done`."""
        while True:
            self._move_due()
            if self._waiting:
                key, since = self._waiting.popitem(last=False)
                # This pass replaces the one that was requested for later.
                self._due.pop(key, None)
                self._working.add(key)
                metrics.QUEUE_LAG_SECONDS.observe(time.monotonic() - since)
                self._changed()
                return key
            self._wake.clear()
            try:
                async with asyncio.timeout(self._next_due()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def done(self, key: Key) -> None:
        """End the pass of a key; a request that came in during the pass starts another one."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _move_due(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            due, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)

    def _next_due(self) -> float | None:
        return max(self._later[0][0] - time.monotonic(), 0) if self._later else None

    def _changed(self) -> None:
        metrics.QUEUE_LENGTH.set(len(self._waiting))
        if self._waiting:
            self._wake.set()
