"""The number of workers that an autoscaled pool needs for its queued and running work."""

import math
from collections import deque
from dataclasses import dataclass, field

from edge_operator.api.types import Autoscaling


@dataclass(frozen=True, slots=True)
class Load:
    """The work of a pool's queues in slots, and the slots of one worker."""

    queued: int
    running: int
    slots_per_worker: int


def recommendation(load: Load, scaling: Autoscaling) -> int:
    """Return the number of workers at which `targetSlotUtilization` percent of the slots are in use.

    It depends on the work, not on the observed workers: pending, evicted or failing pods change nothing here.
    """
    needed = (load.queued + load.running) * 100 / (load.slots_per_worker * scaling.target_slot_utilization)
    return min(max(math.ceil(needed), scaling.min_replicas), scaling.max_replicas)


@dataclass(slots=True)
class Stabiliser:
    """The recommendations of the last minutes, so that a short dip or peak changes nothing.

    `now` is a monotonic time in seconds. The first current number counts as recommended when scaling down: an operator
    that has just started does not scale down before a whole window has passed.
    """

    _seen: deque[tuple[float, int]] = field(default_factory=deque)
    _start: tuple[float, int] | None = None

    def decide(self, recommended: int, current: int, scaling: Autoscaling, now: float) -> int:
        """Return the desired number: the highest of the window when scaling down, the lowest when scaling up."""
        if self._start is None:
            self._start = (now, current)
        self._seen.append((now, recommended))
        longest = max(scaling.scale_down_stabilization_seconds, scaling.scale_up_stabilization_seconds)
        while self._seen[0][0] < now - longest:
            self._seen.popleft()
        lowest = min(self._within(scaling.scale_up_stabilization_seconds, now))
        down_window = scaling.scale_down_stabilization_seconds
        at_start = [self._start[1]] if self._start[0] > now - down_window else []
        highest = max([*self._within(down_window, now), *at_start])
        decided = lowest if lowest > current else min(highest, current)
        return min(max(decided, scaling.min_replicas), scaling.max_replicas)

    def _within(self, window: float, now: float) -> list[int]:
        return [value for at, value in self._seen if at >= now - window]
