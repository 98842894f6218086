"""Group commit: batches that grow, failures that are kept apart, futures that are always done."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from edge_api.database.batcher import LOCKED, Batcher, Later
from edge_api.errors import DatabaseAwayError, DatabaseBrokenError, DatabaseRefusedError


class Store:
    """Flushes batches of numbers; tests say what happens to each flush."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.flushing = asyncio.Event()
        self.fail: Callable[[list[int]], Exception | None] = lambda _: None

    async def flush(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.flushing.set()
        await self.open.wait()
        if (error := self.fail(list(items))) is not None:
            raise error
        return [2 * item for item in items]


@asynccontextmanager
async def running(batcher: Batcher[int, int]) -> AsyncIterator[None]:
    task = asyncio.create_task(batcher.run())
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_what_arrives_during_a_flush_is_the_next_batch() -> None:
    store = Store()
    batcher = Batcher("test", store.flush)
    async with running(batcher):
        store.open.clear()
        first = batcher.submit(1)
        await store.flushing.wait()
        rest = [batcher.submit(number) for number in (2, 3, 4)]
        store.open.set()
        assert await asyncio.gather(first, *rest) == [2, 4, 6, 8]
        await batcher.drained()
    assert store.batches == [[1], [2, 3, 4]]


async def test_batches_are_bounded_by_weight() -> None:
    store = Store()
    batcher = Batcher("test", store.flush, most=5, weigh=lambda item: item)
    futures = [batcher.submit(number) for number in (4, 4, 9, 1, 1)]
    async with running(batcher):
        await asyncio.gather(*futures)
    assert store.batches == [[4, 4], [9], [1, 1]]


async def test_items_wait_for_the_database() -> None:
    store = Store()
    failures = iter([DatabaseAwayError("away"), DatabaseAwayError("away"), None])
    store.fail = lambda _: next(failures)
    batcher = Batcher("test", store.flush)
    async with running(batcher):
        assert await batcher.submit(1) == 2
    assert store.batches == [[1], [1], [1]]


async def test_the_patience_of_each_item_is_bounded() -> None:
    store = Store()
    store.fail = lambda _: DatabaseAwayError("away")
    batcher = Batcher("test", store.flush, patience_s=0)
    async with running(batcher):
        with pytest.raises(DatabaseAwayError):
            await batcher.submit(1)
        store.fail = lambda _: None
        assert await batcher.submit(2) == 4


async def test_an_internal_error_of_the_database_is_tried_again_a_few_times() -> None:
    store = Store()
    failures = iter([DatabaseBrokenError("oops"), DatabaseBrokenError("oops"), None])
    store.fail = lambda _: next(failures)
    batcher = Batcher("test", store.flush)
    async with running(batcher):
        assert await batcher.submit(1) == 2


async def test_an_item_that_breaks_the_database_does_not_harm_the_others() -> None:
    store = Store()
    store.fail = lambda items: DatabaseBrokenError("oops") if 2 in items else None
    batcher = Batcher("test", store.flush)
    futures = [batcher.submit(number) for number in (1, 2, 3)]
    async with running(batcher):
        results = await asyncio.gather(*futures, return_exceptions=True)
    assert (results[0], results[2]) == (2, 6)
    assert isinstance(results[1], DatabaseBrokenError)


async def test_an_item_that_is_refused_does_not_harm_the_others() -> None:
    store = Store()
    store.fail = lambda items: DatabaseRefusedError("bad") if 2 in items else None
    batcher = Batcher("test", store.flush)
    futures = [batcher.submit(number) for number in (1, 2, 3)]
    async with running(batcher):
        results = await asyncio.gather(*futures, return_exceptions=True)
    assert (results[0], results[2]) == (2, 6)
    assert isinstance(results[1], DatabaseRefusedError)


async def test_a_cancelled_item_is_passed_over() -> None:
    store = Store()
    batcher = Batcher("test", store.flush)
    gone, stays = batcher.submit(1), batcher.submit(2)
    gone.cancel()
    async with running(batcher):
        assert await stays == 4
        await batcher.drained()


async def test_a_stop_leaves_no_future_behind() -> None:
    store = Store()
    store.open.clear()
    batcher = Batcher("test", store.flush)
    flushed = batcher.submit(1)
    async with running(batcher):
        await store.flushing.wait()
        queued = batcher.submit(2)
    assert (flushed.cancelled(), queued.cancelled()) == (True, True)


async def test_a_bug_ends_the_service_and_fails_its_items() -> None:
    store = Store()
    store.fail = lambda _: ZeroDivisionError()
    batcher = Batcher("test", store.flush)
    future = batcher.submit(1)
    with pytest.raises(ZeroDivisionError):
        await batcher.run()
    assert future.cancelled()


async def test_a_locked_item_holds_up_no_other() -> None:
    batches = []
    locked = {1}

    async def flush(items: Sequence[int]) -> list[int | Later]:
        batches.append(list(items))
        return [LOCKED if item in locked else item for item in items]

    batcher = Batcher("test", flush)
    async with running(batcher):
        first, second = batcher.submit(1), batcher.submit(2)
        assert await second == 2
        assert await batcher.submit(3) == 3
        assert not first.done()
        locked.clear()
        await batcher.drained()
        assert first.result() == 1
    assert batches[0] == [1, 2]


async def test_the_patience_with_a_locked_item_is_bounded() -> None:
    async def flush(items: Sequence[int]) -> list[int | Later]:
        return [LOCKED for _ in items]

    batcher: Batcher[int, int] = Batcher("test", flush, patience_s=0.1)
    async with running(batcher):
        with pytest.raises(DatabaseAwayError):
            await batcher.submit(1)
