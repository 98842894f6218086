"""Whether an apparent expiry can be trusted (I-4 in docs/architecture.md).

After a start, an outage of the database, or a pause of this process, silence proves nothing.
"""


class Grace:
    """Decides whether an expiry can be trusted. Times are those of one monotonic clock, in seconds.

    For one full window after an interruption nothing expires, since nothing could arrive meanwhile. A pass that comes
    more than `max_gap_s` after the previous one is an interruption too: this process was stopped.
    """

    def __init__(self, window_s: float, max_gap_s: float) -> None:
        self._window_s = window_s
        self._max_gap_s = max_gap_s
        self._last_pass: float | None = None
        self._until = float("inf")

    def interrupted(self, at: float) -> None:
        """Note that something was interrupted at that time."""
        until = at + self._window_s
        self._until = until if self._until == float("inf") else max(self._until, until)

    def trusts_expiry(self, now: float) -> bool:
        """Note a pass, and return whether an apparent expiry can be trusted."""
        if self._last_pass is None or now - self._last_pass > self._max_gap_s:
            self.interrupted(now)
        self._last_pass = now
        return now >= self._until
