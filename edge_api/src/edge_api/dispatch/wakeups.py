"""The dispatcher's reasons to look at the queues, noted by anyone and taken by the dispatcher."""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reasons:
    """What has happened since the dispatcher looked last."""

    queues: frozenset[str]
    """Queues that have new work."""
    room: bool
    """A worker can take a job that it could not take before, or there may be work in any queue."""


class Wakeups:
    """Collects reasons, and wakes the dispatcher."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._queues: set[str] = set()
        self._room = False

    def queue_has_work(self, queue: str) -> None:
        """Note that a queue has work."""
        self._queues.add(queue)
        self._woken.set()

    def room_freed(self) -> None:
        """Note that a worker has room, or that there may be work in any queue."""
        self._room = True
        self._woken.set()

    async def wait(self, until: float) -> None:
        """Wait for a reason, at most until a moment of `time.monotonic`."""
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    def take(self) -> Reasons:
        """Return the reasons noted since the last call."""
        reasons = Reasons(frozenset(self._queues), self._room)
        self._queues = set()
        self._room = False
        return reasons
