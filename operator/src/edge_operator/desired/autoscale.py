"""How many workers a pool is to have for the work that waits and runs."""

import math
from collections import deque
from dataclasses import dataclass, field

from edge_operator.api.types import Autoscaling


@dataclass(frozen=True, slots=True)
class Load:
    """Work for a pool's queues, in slots, and what one worker holds."""

    queued: int
    running: int
    slots_per_worker: int


def recommendation(load: Load, scaling: Autoscaling) -> int:
    """Return the number of workers of which `targetSlotUtilization` percent of the slots would be in use.

    It looks at the work, not at what is there: pods that are pending, evicted or failing change nothing here.
    """
    needed = (load.queued + load.running) * 100 / (load.slots_per_worker * scaling.target_slot_utilization)
    return min(max(math.ceil(needed), scaling.min_replicas), scaling.max_replicas)


@dataclass(slots=True)
class Stabiliser:
    """Recommendations of the last minutes, so that a short dip or peak changes nothing.

    `now` is a monotonic time in seconds. For a fall, what is there at the first recommendation counts as recommended:
    an operator that has just started does not scale down before a whole window was seen.
    """

    _seen: deque[tuple[float, int]] = field(default_factory=deque)
    _start: tuple[float, int] | None = None

    def settle(self, recommended: int, current: int, scaling: Autoscaling, now: float) -> int:
        """Return the number to go for: the highest of the window for a fall, the lowest of the window for a rise."""
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
        settled = lowest if lowest > current else min(highest, current)
        return min(max(settled, scaling.min_replicas), scaling.max_replicas)

    def _within(self, window: float, now: float) -> list[int]:
        return [value for at, value in self._seen if at >= now - window]
