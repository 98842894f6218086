"""The keys that wait for work: each at most once, never worked on twice at once, and with its own backoff."""

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
    """What to bring up to date."""

    kind: str
    namespace: str
    name: str


class WorkQueue:
    """A queue of keys. Not thread safe: for one event loop."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Key, float] = OrderedDict()
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._later: list[tuple[float, Key]] = []
        self._due: dict[Key, float] = {}
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        """Have a key worked on as soon as possible."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = time.monotonic()
            self._changed()

    def add_later(self, key: Key, delay_s: float) -> None:
        """Have a key worked on after a delay, or before, if something happens or an earlier time is known."""
        due = time.monotonic() + delay_s
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._later, (due, key))
            self._wake.set()

    def failed(self, key: Key) -> float:
        """Have a key that failed worked on after its backoff, which doubles with each failure; return the delay."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay: float = min(BACKOFF_FIRST_S * 2 ** min(count, 16), BACKOFF_MAX_S) * random.uniform(0.5, 1.0)  # noqa: S311
        self.add_later(key, delay)
        return delay

    def succeeded(self, key: Key) -> None:
        """Forget the failures of a key."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """Wait for a key and take it; `done` must follow."""
        while True:
            self._move_due()
            if self._waiting:
                key, since = self._waiting.popitem(last=False)
                # What was to happen later happens now.
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
        """Note that the work on a key ended; what came in meanwhile starts it again."""
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
