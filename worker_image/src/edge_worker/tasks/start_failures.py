"""Whether this worker can run tasks, as its latest starts show.

A worker that can't run tasks fails them in milliseconds, so it is always the one with the most free slots: it would
empty the queues of its fleet. So the first task that can't be started stops the worker from taking jobs, as do a few
tasks in a row that were started and then could not be run. It tries again later, and each time that fails, later still.
"""

import asyncio

IN_A_ROW = 3
"""Tasks in a row that could not be run: a single one may be the task's own fault, or Airflow's."""
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 300.0


class StartFailures:
    """Why no jobs are taken, if starts failed. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why this worker takes no jobs; None: starts have not failed, or it is time to try again."""
        self.noticed = asyncio.Event()
        """Set when `reason` is."""
        self._in_a_row = 0
        self._wait_s = FIRST_WAIT_S
        self._retry_at = 0.0

    def not_started(self, reason: str, now: float) -> None:
        """Note that a task could not be started."""
        self._stop(reason, now)

    def not_run(self, reason: str, now: float) -> None:
        """Note that a task was started and its supervisor could not run it."""
        self._in_a_row += 1
        if self._in_a_row >= IN_A_ROW:
            self._stop(f"{self._in_a_row} tasks in a row could not be run; the last one: {reason}", now)

    def ran(self) -> None:
        """Note that a task has run, whether or not it succeeded."""
        self._in_a_row = 0
        if self.reason is None:
            self._wait_s = FIRST_WAIT_S

    def retry_due(self, now: float) -> bool:
        """Return whether it is time to check if tasks can be started again."""
        return self.reason is not None and now >= self._retry_at

    def retry(self) -> None:
        """Take jobs again: nothing found is wrong any more."""
        self.reason = None
        self._in_a_row = 0
        self.noticed.clear()

    def _stop(self, reason: str, now: float) -> None:
        if self.reason is None:
            self.reason = reason.replace("\x00", "")
            self._retry_at = now + self._wait_s
            self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
            self.noticed.set()
