"""The fleet as last told by the change stream."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from edge_protocol.admin import WorkerView


class FleetState:
    """Views of all workers by name; kept while the edge API is away."""

    def __init__(self) -> None:
        self._views: dict[str, WorkerView] = {}
        self._resetting: set[str] | None = None
        self._listener: Callable[[str], None] | None = None
        self.ready = asyncio.Event()
        """The whole fleet was read at least once."""
        self.stale_since: datetime | None = datetime.now(UTC)
        """Since when changes may have been missed; None while the stream is up to date."""

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Have `listener` called with the name of each worker that is new, changed or gone."""
        self._listener = listener

    def get(self, name: str) -> WorkerView | None:
        """Return a worker."""
        return self._views.get(name)

    def names(self) -> list[str]:
        """Return the names of all workers."""
        return list(self._views)

    def begin(self) -> None:
        """Note that the whole fleet follows."""
        self._resetting = set()

    def put(self, view: WorkerView) -> None:
        """Note a worker."""
        if self._resetting is not None:
            self._resetting.add(view.name)
        if self._views.get(view.name) != view:
            self._views[view.name] = view
            self._tell(view.name)

    def drop(self, name: str) -> None:
        """Note that a worker is no more."""
        if self._views.pop(name, None) is not None:
            self._tell(name)

    def complete(self) -> None:
        """Note that what was told is up to date: workers that were not told of are gone."""
        if self._resetting is not None:
            for name in self._views.keys() - self._resetting:
                self.drop(name)
            self._resetting = None
        self.stale_since = None
        self.ready.set()

    def disconnected(self) -> None:
        """Note that changes may be missed from now on."""
        if self.stale_since is None:
            self.stale_since = datetime.now(UTC)

    def _tell(self, name: str) -> None:
        if self._listener is not None:
            self._listener(name)
