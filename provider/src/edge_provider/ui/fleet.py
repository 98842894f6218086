"""The fleet as the change stream reports it: one copy per api-server process, shared by all who look.

The stream reports what happens, but neither heartbeats nor load, so the whole list is read again now and then. Both
begin with the first viewer and end when nobody has looked for a while.

Browsers poll with `since`, a place in the stream and the time of the last whole list. Places are valid on any replica
(ADR 0010), so any api-server can answer the next poll.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeVar

from pydantic import BaseModel

from edge_protocol.admin import CHANGES_PATH, PAGE_MAX, WORKERS_PATH, ChangeKind, WorkerPage, WorkerView
from edge_protocol.rest import Problem
from edge_provider.ui.client import EdgeApi, EdgeApiError, away, other_version

REFRESH_S: Final = 10.0
"""Workers report their load this often."""
IDLE_S: Final = 60.0
"""Without a viewer for so long, nothing is followed."""
FIRST_ANSWER_S: Final = 8.0
RETRY_S: Final = 2.0
REMOVED_MOST: Final = 1000

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class FleetNews(BaseModel):
    """What has changed since a poll."""

    since: str
    """To be passed with the next poll."""
    reset: bool
    """`workers` is the whole fleet."""
    workers: list[WorkerView]
    removed: list[str]
    as_of: datetime
    """When the data was last known to be current."""
    problem: Problem | None
    """Why it is not current now."""


class _Removed(NamedTuple):
    place: int
    at: float
    worker: WorkerView


class Fleet:
    """The latest known view of each worker."""

    def __init__(self, api: EdgeApi) -> None:
        self._api = api
        self._workers: dict[str, WorkerView] = {}
        self._removed: deque[_Removed] = deque(maxlen=REMOVED_MOST)
        self._leaving: list[tuple[float, WorkerView]] = []
        """Removed since the last place of the stream."""
        self._place = 0
        self._listed_ms = 0
        self._as_of = datetime.min.replace(tzinfo=UTC)
        self._problems: dict[str, Problem] = {}
        self._changed = asyncio.Event()
        self._looked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # ---- viewers ----

    async def news(self, since: str | None, visible: Callable[[WorkerView], bool]) -> FleetNews:
        """Return what a viewer does not know yet.

        Raises:
            EdgeApiError: nothing is known yet, and the edge API does not answer.

        """
        await self._ready()
        place, listed_ms = _parse(since)
        if listed_ms < self._listed_ms:
            reset, workers, removed = True, list(self._workers.values()), []
        else:
            reset = False
            workers = [worker for worker in self._workers.values() if worker.revision >= place]
            removed = [gone.worker for gone in self._removed if gone.place >= place]
            # The viewer comes from an api-server that knows more than this one.
            listed_ms, place = max(listed_ms, self._listed_ms), max(place, self._place)
        return FleetNews.model_construct(
            since=f"{self._place}.{self._listed_ms}" if reset else f"{place}.{listed_ms}",
            reset=reset,
            workers=[worker for worker in workers if visible(worker)],
            removed=[worker.name for worker in removed if visible(worker)],
            as_of=self._as_of,
            problem=next(iter(self._problems.values()), None),
        )

    async def all(self) -> dict[str, WorkerView]:
        """Return all workers by name; raises the same errors as `news`."""
        await self._ready()
        return self._workers

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _ready(self) -> None:
        self._looked.set()
        if self._task is None or self._task.done():
            self._listed_ms, self._place, self._problems = 0, 0, {}
            self._task = asyncio.create_task(self._follow(), name="edge fleet")
            self._task.add_done_callback(_report)
        deadline = time.monotonic() + FIRST_ANSWER_S
        while not self._listed_ms:
            if (problem := self._problems.get("list")) is not None:
                raise EdgeApiError(problem.status, problem.code, problem.detail)
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - time.monotonic()):
                    await self._changed.wait()
            except TimeoutError as error:
                raise away("edge_api_slow", "The edge API did not answer in time.") from error

    # ---- following ----

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as group:
            both = [
                group.create_task(self._keep("list", self._list, REFRESH_S), name="edge fleet: list"),
                group.create_task(self._keep("stream", self._read_stream, RETRY_S), name="edge fleet: stream"),
            ]
            with contextlib.suppress(TimeoutError):
                while True:
                    self._looked.clear()
                    async with asyncio.timeout(IDLE_S):
                        await self._looked.wait()
            for task in both:
                task.cancel()

    async def _keep(self, what: str, step: Callable[[], Awaitable[None]], pause_s: float) -> None:
        """Repeat a step; remember why it fails while it does."""
        while True:
            try:
                await step()
            except EdgeApiError as error:
                if what not in self._problems:
                    log.warning("the fleet page has no current data: %s", error)
                self._problems[what] = error.problem
                self._notify()
                await asyncio.sleep(RETRY_S)
            else:
                await asyncio.sleep(pause_s)

    def _current(self, what: str) -> None:
        self._problems.pop(what, None)
        if not self._problems:
            self._as_of = datetime.now(UTC)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _list(self) -> None:
        began = time.monotonic()
        found: dict[str, WorkerView] = {}
        cursor: str | None = None
        while True:
            page = await self._api.get(WorkerPage, WORKERS_PATH, limit=PAGE_MAX, cursor=cursor)
            found |= {worker.name: worker for worker in page.items}
            cursor = page.next
            if cursor is None:
                break
        for name, known in self._workers.items():
            if name in found and known.revision > found[name].revision:
                found[name] = known
        removed = {gone.worker.name for gone in self._removed if gone.at >= began}
        removed |= {worker.name for _, worker in self._leaving}
        self._workers = {name: worker for name, worker in found.items() if name not in removed}
        self._listed_ms = time.time_ns() // 1_000_000
        self._current("list")

    async def _read_stream(self) -> None:
        async with self._api.stream(CHANGES_PATH, str(self._place) if self._place else None) as lines:
            async for kind, data, place in _events(lines):
                self._apply(kind, data)
                if place is not None:
                    self._placed(place)
                self._current("stream")

    def _apply(self, kind: str, data: str) -> None:
        try:
            if kind == ChangeKind.WORKER:
                worker = WorkerView.model_validate_json(data)
                known = self._workers.get(worker.name)
                if known is None or known.revision <= worker.revision:
                    self._workers[worker.name] = worker
                self._leaving = [(at, gone) for at, gone in self._leaving if gone.name != worker.name]
            elif kind == ChangeKind.REMOVED:
                name = json.loads(data)["name"]
                if (gone := self._workers.pop(name, None)) is not None:
                    self._leaving.append((time.monotonic(), gone))
        except (ValueError, KeyError, TypeError) as error:
            raise other_version() from error

    def _placed(self, place: int) -> None:
        self._place = place
        self._removed.extend(_Removed(place, at, worker) for at, worker in self._leaving)
        self._leaving.clear()


def _report(task: asyncio.Task[None]) -> None:
    """Log an unexpected error; the next viewer begins again."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("following the fleet failed", exc_info=error)


def _parse(since: str | None) -> tuple[int, int]:
    place, _, listed_ms = (since or "").partition(".")
    if not (place + listed_ms).isascii() or not place.isdigit() or not listed_ms.isdigit() or len(since or "") > 40:
        return 0, 0
    return int(place), int(listed_ms)


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, str, int | None]]:
    """Yield kind, data and place of each event, and an empty one for each sign of life."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line.startswith(":"):
            yield "", "", None
        elif line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif fields:
            place = fields.get("id", "")
            yield fields.get("event", ""), fields.get("data", ""), int(place) if place.isdigit() else None
            fields = {}
