"""Bytes that this process holds for all workers together, against one bound (ADR 0033).

Counted are frames that wait for the database, frames that wait for a worker to read them, and bodies of calls.
"""

from collections.abc import Callable

from edge_api.metrics import Metrics


class HeldBytes:
    """Counts bytes against the bound of the process."""

    def __init__(self, most: int, metrics: Metrics) -> None:
        self.most = most
        self._metrics = metrics
        self._bytes = 0
        self.freed: Callable[[], None] = lambda: None
        """Called when there is more room."""

    def add(self, size: int) -> None:
        """Count bytes that are held from now on."""
        self._bytes += size
        self._metrics.held_bytes.set(self._bytes)

    def remove(self, size: int) -> None:
        """Count bytes that are held no longer."""
        self.add(-size)
        self.freed()

    def fits(self, size: int, share: float = 1.0) -> bool:
        """Return whether there is room for so many bytes within a share of the bound."""
        return self._bytes + size <= share * self.most

    @property
    def full(self) -> bool:
        """Whether there is no room at all."""
        return self._bytes >= self.most
