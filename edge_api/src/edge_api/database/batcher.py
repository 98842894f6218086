"""Group commit: everything that arrives while one flush is under way goes into the next.

No timer: a lone item is flushed at once, and under load batches grow by themselves.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, NoReturn, TypeVar

from edge_api.errors import DatabaseAwayError, DatabaseBrokenError, DatabaseRefusedError, EdgeApiError

Item = TypeVar("Item")
Result = TypeVar("Result")

_BACKOFF_FIRST_S: Final = 0.05
_BACKOFF_MOST_S: Final = 1.0
_BROKEN_MOST: Final = 5
"""Internal errors of the database after which a batch is taken apart, or an item given up."""

_LOCKED_S: Final = 0.05
"""Time between two looks at rows that somebody else has locked, unless something new comes."""

log = logging.getLogger(__name__)


class Later(Enum):
    """What a flush returns for an item that it left out."""

    LOCKED = "another transaction has locked its row"


LOCKED: Final = Later.LOCKED


@dataclass(slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Result]
    added: float


class Batcher(Generic[Item, Result]):
    """Collects items and flushes them in batches, one batch at a time.

    `flush` gets the items and returns a result for each, in order; an item with the result `LOCKED` goes into a later
    batch, and holds up no other. While it raises `DatabaseAwayError` the items are
    kept and tried again, each for `patience_s` seconds. A batch that the database refuses, or keeps answering with
    internal errors, is taken apart, so that one bad item does not harm the others.
    """

    def __init__(
        self,
        name: str,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Later]]],
        *,
        patience_s: float = 60.0,
        most: int = 500,
        weigh: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self.name = name
        self._flush = flush
        self._patience_s = patience_s
        self._most = most
        self._weigh = weigh
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Queue an item; the future gives its result, or the error that it failed with."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._queue.append(_Entry(item, future, loop.time()))
        self._idle.clear()
        self._wake.set()
        return future

    async def drained(self) -> None:
        """Wait until nothing is queued or being flushed."""
        await self._idle.wait()

    async def run(self) -> NoReturn:
        """Flush forever; items still queued when this is cancelled are cancelled too."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    batch = self._take()
                    if await self._deliver(batch) == len(batch):
                        await self._locked()
                self._idle.set()
        finally:
            for entry in self._queue:
                entry.future.cancel()

    def _take(self) -> list[_Entry[Item, Result]]:
        batch = [self._queue.popleft()]
        weight = self._weigh(batch[0].item)
        while self._queue and weight < self._most:
            weight += self._weigh(self._queue[0].item)
            batch.append(self._queue.popleft())
        return batch

    async def _locked(self) -> None:
        """Wait before the next look at locked rows."""
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOCKED_S):
                await self._wake.wait()

    async def _deliver(self, batch: list[_Entry[Item, Result]]) -> int:
        """Flush one batch, for as long as it takes, and return how many of its items are locked.

        Those are queued again; the futures of the others are done afterwards.
        """
        backoff = _BACKOFF_FIRST_S
        broken = 0
        try:
            while batch:
                try:
                    results = await self._flush([entry.item for entry in batch])
                except DatabaseAwayError as error:
                    if isinstance(error, DatabaseBrokenError):
                        broken += 1
                        if broken == _BROKEN_MOST:
                            return await self._deliver_apart(batch, error)
                    log.warning("%s wait for the database: %s", self.name, error)
                    batch = self._without_overdue(batch, error)
                    await asyncio.sleep(backoff)
                    backoff = min(2 * backoff, _BACKOFF_MOST_S)
                except DatabaseRefusedError as error:
                    return await self._deliver_apart(batch, error)
                else:
                    locked = []
                    for entry, result in zip(batch, results, strict=True):
                        if isinstance(result, Later):
                            locked.append(entry)
                        elif not entry.future.done():
                            entry.future.set_result(result)
                    batch = []
                    locked = self._without_overdue(locked, DatabaseAwayError(Later.LOCKED.value))
                    self._queue.extend(locked)
                    return len(locked)
            return 0
        finally:
            for entry in batch:
                entry.future.cancel()

    async def _deliver_apart(self, batch: list[_Entry[Item, Result]], error: EdgeApiError) -> int:
        if len(batch) == 1:
            log.error("%s: the database refuses an item: %s", self.name, error)
            if not batch[0].future.done():
                batch[0].future.set_exception(error)
            return 0
        return sum([await self._deliver([entry]) for entry in batch])

    def _without_overdue(
        self, batch: list[_Entry[Item, Result]], error: DatabaseAwayError
    ) -> list[_Entry[Item, Result]]:
        deadline = asyncio.get_running_loop().time() - self._patience_s
        for entry in batch:
            if entry.added <= deadline and not entry.future.done():
                entry.future.set_exception(error)
        return [entry for entry in batch if not entry.future.done()]
