"""When a new template is worth its start, which costs seconds of CPU that tasks could use: pure decisions.

The first tasks of a new kind each import what the template lacks, so many new modules are taken in at once. A few can
wait until nothing runs.
"""

from dataclasses import dataclass, field

MANY_MODULES = 20
IDLE_S = 2.0
"""Seconds without a task before a few new modules are taken in."""
PATIENCE_S = 60.0
"""Seconds after which a few new modules are taken in even on a busy worker."""
SPACING_S = 15.0
"""Seconds between the end of one start and the next."""


@dataclass(slots=True)
class RefreshPolicy:
    """Decides from what was learned since the current template. Times are seconds of one monotonic clock."""

    new_modules: int = 0
    _first_new_at: float = 0.0
    _idle_since: float | None = None
    _not_before: float = field(default=0.0)

    def learned(self, count: int, now: float) -> None:
        """Note new modules."""
        if count and not self.new_modules:
            self._first_new_at = now
        self.new_modules += count

    def tasks_running(self, count: int, now: float) -> None:
        """Note how many tasks run."""
        if count:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now

    def started(self, now: float) -> None:
        """Note that a start with all that is known now begins or failed for good; the next one keeps its distance."""
        self.new_modules = 0
        self._not_before = now + SPACING_S

    def due_at(self) -> float | None:
        """Return when the next template is due; None: not before something more is noted."""
        if not self.new_modules:
            return None
        if self.new_modules >= MANY_MODULES:
            return self._not_before
        wish = self._first_new_at + PATIENCE_S
        if self._idle_since is not None:
            wish = min(wish, self._idle_since + IDLE_S)
        return max(wish, self._not_before)
