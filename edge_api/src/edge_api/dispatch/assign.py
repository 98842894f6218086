"""Which waiting worker gets which job: a pure function of plain data.

The store decides whether a worker may have a job at all; this decides only what is best, so a mistake here could waste
time but break no rule.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from edge_store.jobs.claims import Order, QueuedJob


@dataclass(frozen=True, slots=True)
class Waiter:
    """A worker's session and its room. One without free slots is listed too, since room can be kept for a large job."""

    session_id: UUID
    worker: str
    team: str | None
    queues: frozenset[str]
    free: int
    concurrency: int


def assign(
    waiters: Sequence[Waiter], candidates: Iterable[QueuedJob], starving: Iterable[QueuedJob] = ()
) -> list[tuple[QueuedJob, Waiter]]:
    """Give jobs, in their order, to the least loaded workers that have room.

    Each job of `starving` is too large for any free room. A worker is kept for it: the one that has the most room of
    those that are large enough. That worker gets nothing ranked behind the job, so its room grows until the job fits.
    """
    kept = keep_room(waiters, starving)
    room = _Room(waiters)
    pairs = []
    for candidate in sorted(candidates, key=lambda job: job.order):
        waiter = room.take(candidate, kept)
        if waiter is not None:
            pairs.append((candidate, waiter))
    return pairs


def keep_room(waiters: Sequence[Waiter], starving: Iterable[QueuedJob]) -> Mapping[UUID, Order]:
    """Return the sessions that are kept for a starving job, each with the job's place."""
    kept: dict[UUID, Order] = {}
    for job in sorted(starving, key=lambda job: job.order):
        able = [
            waiter
            for waiter in waiters
            if waiter.session_id not in kept
            and waiter.team == job.team
            and job.queue in waiter.queues
            and waiter.concurrency >= job.slots
        ]
        if able:
            # The name breaks ties, so that the choice stays the same from round to round.
            kept[max(able, key=lambda waiter: (waiter.free, waiter.worker)).session_id] = job.order
    return kept


class _Room:
    """Free slots while they are being given away, with the least loaded worker of each queue at hand."""

    def __init__(self, waiters: Sequence[Waiter]) -> None:
        self._waiters = waiters
        self._free = [waiter.free for waiter in waiters]
        self._heaps: dict[tuple[str, str | None], list[tuple[float, str, int]]] = {}

    def take(self, job: QueuedJob, kept: Mapping[UUID, Order]) -> Waiter | None:
        """Return the worker for a job and count its slots as taken, or None if nobody has room."""
        heap = self._heap(job.queue, job.team)
        passed_over = []
        found = None
        while heap:
            load, name, index = heapq.heappop(heap)
            if self._free[index] < 1:
                continue
            if load != self._load(index):  # it got a job from another queue since
                heapq.heappush(heap, (self._load(index), name, index))
                continue
            passed_over.append((load, name, index))
            order = kept.get(self._waiters[index].session_id)
            if self._free[index] >= job.slots and (order is None or job.order <= order):
                found = index
                break
        for entry in passed_over:
            heapq.heappush(heap, entry)
        if found is None:
            return None
        self._free[found] -= job.slots
        return self._waiters[found]

    def _heap(self, queue: str, team: str | None) -> list[tuple[float, str, int]]:
        key = (queue, team)
        if key not in self._heaps:
            self._heaps[key] = [
                (self._load(index), waiter.worker, index)
                for index, waiter in enumerate(self._waiters)
                if waiter.team == team and queue in waiter.queues and self._free[index] > 0
            ]
            heapq.heapify(self._heaps[key])
        return self._heaps[key]

    def _load(self, index: int) -> float:
        return 1 - self._free[index] / self._waiters[index].concurrency
