r"""How a worker stops: pure decisions over time.

    WORKING --stop request--> DRAINING --tasks done--------------------------> FLUSHING --delivered or time up--> DONE
                                 \--timeout or second request--> STOPPING --tasks gone--/

Each further stop request skips the wait of the present step.
"""

from dataclasses import dataclass, field
from enum import Enum, auto


class Step(Enum):
    """Steps of a stop, in order."""

    WORKING = auto()
    DRAINING = auto()
    """Tasks run on; no new ones."""
    STOPPING = auto()
    """Tasks were told to end."""
    FLUSHING = auto()
    """Tasks are gone; reports and logs are delivered."""
    DONE = auto()


@dataclass(slots=True)
class Drain:
    """Where the worker is on its way to a stop. Times are seconds of one monotonic clock."""

    drain_timeout_s: float
    kill_grace_s: float
    flush_timeout_s: float
    step: Step = Step.WORKING
    deadline: float | None = field(default=None)
    """When the present step's wait is over."""

    @property
    def asked(self) -> bool:
        """Whether a stop was requested."""
        return self.step is not Step.WORKING

    def request(self, now: float) -> None:
        """Ask for a stop; asking again skips the wait of the present step."""
        if self.step is Step.WORKING:
            self._enter(Step.DRAINING, now)
        elif self.step is not Step.DONE:
            self.deadline = now

    def advance(self, now: float, *, tasks: int, undelivered: bool) -> Step:
        """Move on as far as `tasks` (still there) and `undelivered` (reports or logs) allow, and return the step."""
        if self.step is Step.DRAINING and tasks and self._over(now):
            self._enter(Step.STOPPING, now)
        if self.step in (Step.DRAINING, Step.STOPPING) and (not tasks or self._given_up(now)):
            self._enter(Step.FLUSHING, now)
        if self.step is Step.FLUSHING and (not undelivered or self._over(now)):
            self._enter(Step.DONE, now)
        return self.step

    def _over(self, now: float) -> bool:
        return self.deadline is not None and now >= self.deadline

    def _given_up(self, now: float) -> bool:
        return self.step is Step.STOPPING and self._over(now)

    def _enter(self, step: Step, now: float) -> None:
        self.step = step
        waits = {
            Step.DRAINING: self.drain_timeout_s,
            # Killed processes are gone soon after SIGKILL; a kernel that cannot kill must not hold the stop up.
            Step.STOPPING: self.kill_grace_s + 10,
            Step.FLUSHING: self.flush_timeout_s,
        }
        self.deadline = now + waits[step] if step in waits else None
