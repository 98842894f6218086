"""Follows the edge API's change stream and keeps `FleetState` up to date; reconnects for ever, from where it was."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from pydantic import ValidationError

from edge_operator.fleet.admin_api import FleetHttp
from edge_operator.fleet.errors import FleetError
from edge_operator.fleet.state import FleetState
from edge_protocol.admin import CHANGES_PATH, ChangeKind, RemovedWorker, WorkerView

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 10.0


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a stream of server-sent events."""

    id: str | None
    kind: str
    data: str


async def read_events(lines: AsyncIterator[bytes]) -> AsyncIterator[ServerEvent]:
    """Read server-sent events from lines; comments and unknown fields are skipped."""
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
    """One connection to the change stream at a time."""

    def __init__(self, http: FleetHttp, state: FleetState) -> None:
        self._http = http
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
        headers = {"Last-Event-ID": self._last_id} if self._last_id is not None else {}
        async with self._http.stream(CHANGES_PATH, headers) as lines:
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
    """Read lines of any length: aiohttp's own iteration refuses those over its buffer's limit."""
    rest = b""
    async for chunk in reader.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
