"""The fleet as the edge API's change stream reports it: the state, and the task that follows the stream."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
from pydantic import ValidationError

from edge_operator.fleet.admin_api import AdminApi, FleetError
from edge_protocol.admin import ChangeKind, RemovedWorker, WorkerView

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 10.0


class FleetState:
    """The workers of the fleet by name; kept while the edge API does not answer."""

    def __init__(self) -> None:
        self._views: dict[str, WorkerView] = {}
        self._resetting: set[str] | None = None
        self._listener: Callable[[str], None] | None = None
        self.ready = asyncio.Event()
        """Set once the whole fleet has been read."""
        self.stale_since: datetime | None = datetime.now(UTC)
        """Since when changes may be missing; None while the stream is up to date."""

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Have `listener` called with the name of each worker that is new, changed or removed."""
        self._listener = listener

    def get(self, name: str) -> WorkerView | None:
        """Return a worker, or None."""
        return self._views.get(name)

    def names(self) -> list[str]:
        """Return the names of all workers."""
        return list(self._views)

    def begin(self) -> None:
        """Start to read the whole fleet."""
        self._resetting = set()

    def put(self, view: WorkerView) -> None:
        """Store a worker."""
        if self._resetting is not None:
            self._resetting.add(view.name)
        if self._views.get(view.name) != view:
            self._views[view.name] = view
            self._notify(view.name)

    def put_answer(self, view: WorkerView) -> None:
        """Store the worker that a call returned, unless the stream was faster: a change is not sent twice."""
        known = self._views.get(view.name)
        if known is not None and known.revision <= view.revision:
            self.put(view)

    def drop(self, name: str) -> None:
        """Forget a worker that was removed."""
        if self._views.pop(name, None) is not None:
            self._notify(name)

    def complete(self) -> None:
        """Mark the state as up to date; after `begin`, workers that were not reported since are removed."""
        if self._resetting is not None:
            for name in self._views.keys() - self._resetting:
                self.drop(name)
            self._resetting = None
        self.stale_since = None
        self.ready.set()

    def disconnected(self) -> None:
        """Mark the state as possibly out of date from now on."""
        if self.stale_since is None:
            self.stale_since = datetime.now(UTC)

    def _notify(self, name: str) -> None:
        if self._listener is not None:
            self._listener(name)


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event."""

    id: str | None
    kind: str
    data: str


async def read_events(lines: AsyncIterator[bytes]) -> AsyncIterator[ServerEvent]:
    """Parse server-sent events from lines; comments and unknown fields are skipped."""
    event_id: str | None = None
    kind = ""
    data: list[str] = []
    async for raw in lines:
        line = raw.decode().rstrip("\r\n")
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if kind or data:
                yield ServerEvent(event_id, kind, "\n".join(data))
            event_id, kind, data = None, "", []
        elif name == "id":
            event_id = value
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)


class FleetFollower:
    """Follows the change stream and keeps a `FleetState` up to date; reconnects indefinitely, after the last event."""

    def __init__(self, api: AdminApi, state: FleetState) -> None:
        self._api = api
        self._state = state
        self._last_id: str | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = 0
        while True:
            try:
                async for event in self._events():
                    self._take(event)
                    failures = 0
            except FleetError as error:
                log.log(logging.INFO if failures else logging.WARNING, "change stream: %s", error)
            finally:
                self._state.disconnected()
            delay = min(BACKOFF_FIRST_S * 2**failures, BACKOFF_MAX_S)
            failures += 1
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  (jitter)

    async def _events(self) -> AsyncIterator[ServerEvent]:
        async with self._api.change_stream(self._last_id) as lines:
            async for event in read_events(_lines(lines)):
                yield event

    def _take(self, event: ServerEvent) -> None:
        try:
            if event.kind == ChangeKind.RESET:
                self._state.begin()
            elif event.kind == ChangeKind.WORKER:
                self._state.put(WorkerView.model_validate_json(event.data))
            elif event.kind == ChangeKind.REMOVED:
                self._state.drop(RemovedWorker.model_validate_json(event.data).name)
            elif event.kind == ChangeKind.READY:
                self._state.complete()
        except ValidationError as error:
            log.error("change stream: an event %r can't be read: %s", event.kind, error.errors(include_input=False)[0])  # noqa: TRY400
            return
        if event.id is not None:
            self._last_id = event.id


async def _lines(reader: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Read lines of any length: aiohttp's own iteration refuses lines that exceed its buffer limit."""
    rest = b""
    async for chunk in reader.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
