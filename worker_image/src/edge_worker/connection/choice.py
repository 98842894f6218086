"""Which transport to try next: pure decisions.

A WebSocket is preferred. Where a proxy refuses the upgrade, or lets it pass and then breaks it, long polling takes
over, and the WebSocket is tried again from time to time, since proxies change. An edge API that is simply not
reachable changes nothing.
"""

from typing import Literal

Kind = Literal["websocket", "sync"]

RETRY_WEBSOCKET_S = 600.0
"""Seconds of long polling before the WebSocket is tried again."""
EARLY_DEATHS = 3
"""So many WebSockets that died before or right after the welcome count as broken."""


class TransportChoice:
    """Choice between the transports. Times are seconds of one monotonic clock."""

    def __init__(self, setting: Literal["auto", "websocket", "sync"]) -> None:
        self._setting = setting
        self._fallen_back_at: float | None = None
        self._early_deaths = 0

    def next(self, now: float) -> Kind:
        """Return the transport for the next connection."""
        if self._setting != "auto":
            return self._setting
        if self._fallen_back_at is None or now - self._fallen_back_at >= RETRY_WEBSOCKET_S:
            return "websocket"
        return "sync"

    def session_limit(self, now: float) -> float | None:
        """Return after how many seconds a long-poll session ends for another try of the WebSocket; None: never."""
        if self._setting != "auto" or self._fallen_back_at is None:
            return None
        return max(0.0, self._fallen_back_at + RETRY_WEBSOCKET_S - now)

    def upgrade_refused(self, now: float) -> None:
        """Note that a WebSocket could not be opened although something answered."""
        self._fallen_back_at = now
        self._early_deaths = 0

    def died_early(self, now: float) -> None:
        """Note that a WebSocket opened and died at once."""
        self._early_deaths += 1
        if self._early_deaths >= EARLY_DEATHS:
            self.upgrade_refused(now)

    def worked(self, kind: Kind) -> None:
        """Note that a session was of use."""
        if kind == "websocket":
            self._fallen_back_at = None
            self._early_deaths = 0

    def sync_failed(self) -> None:
        """Note that long polling does not work either: the trouble is not the WebSocket."""
        self._fallen_back_at = None
