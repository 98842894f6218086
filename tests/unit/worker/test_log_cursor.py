"""The log's bookkeeping against a model of the server and of the disk, for any order of events."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_worker.logs.cursor import Chunk, LogCursor

GONE = -1

events = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.integers(1, 300)),
        st.tuples(st.just("send"), st.integers(1, 120)),
        st.tuples(st.just("deliver"), st.integers(1, 3)),
        st.tuples(st.just("answer"), st.integers(1, 3)),
        st.tuples(st.just("cut"), st.just(0)),
        st.tuples(st.just("free"), st.integers(0, 200)),
        st.tuples(st.just("drop"), st.integers(0, 200)),
    ),
    max_size=60,
)


class World:
    """A file whose byte at offset n is n, a server that follows the protocol, and connections that may break."""

    def __init__(self) -> None:
        self.cursor = LogCursor()
        self.file: list[int] = []
        self.server: list[int] = []
        self.to_server: list[tuple[Chunk, list[int]]] = []
        self.to_agent: list[int] = []

    def grow(self, count: int) -> None:
        self.file += range(len(self.file), len(self.file) + count)
        self.cursor.size = len(self.file)

    def send(self, limit: int) -> None:
        if (chunk := self.cursor.next_chunk(limit)) is not None:
            data = self.file[chunk.offset : chunk.offset + chunk.length]
            assert GONE not in data, "freed and dropped bytes are never sent"
            assert 0 < chunk.length <= limit
            self.cursor.mark_sent(chunk)
            self.to_server.append((chunk, data))

    def deliver(self, count: int) -> None:
        for chunk, data in self.to_server[:count]:
            end = len(self.server)
            if end <= chunk.offset <= end + chunk.skipped:
                self.server += [GONE] * (chunk.offset - end) + data
            elif chunk.offset < end:
                self.server += data[end - chunk.offset :]
            self.to_agent.append(len(self.server))
        del self.to_server[:count]

    def answer(self, count: int) -> None:
        for offset in self.to_agent[:count]:
            self.cursor.on_ack(offset)
        del self.to_agent[:count]

    def cut(self, _: int) -> None:
        self.to_server.clear()
        self.to_agent.clear()
        self.cursor.rewind()

    def free(self, keep: int) -> None:
        upto = self.cursor.acked - keep
        if upto > self.cursor.freed:
            self.file[:upto] = [GONE] * upto
            self.cursor.mark_freed(upto)

    def drop(self, count: int) -> None:
        end = self.cursor.earliest_notice() + count
        if end < self.cursor.size:
            assert end >= len(self.server), "the server must not cut the notice that stands there"
            start = self.cursor.drop_start()
            self.cursor.mark_dropped(end)
            self.file[start:end] = [GONE] * (end - start)

    def run(self, steps: list[tuple[str, int]]) -> None:
        for step, argument in steps:
            getattr(self, step)(argument)
            assert 0 <= self.cursor.in_flight <= len(self.file)
            assert 0 <= self.cursor.retained <= len(self.file)


@given(events)
@settings(max_examples=500, deadline=None)
def test_server_ends_up_with_every_byte_that_was_not_dropped(steps: list[tuple[str, int]]) -> None:
    world = World()
    world.run(steps)
    for _ in range(200):
        if world.cursor.delivered and not world.to_server and not world.to_agent:
            break
        world.run([("send", 100), ("deliver", 9), ("answer", 9)])
    assert world.cursor.delivered
    assert len(world.server) == len(world.file)
    assert all(got in (offset, GONE) for offset, got in enumerate(world.server))
    lost = [offset for offset, got in enumerate(world.server) if got == GONE]
    assert all(world.file[offset] == GONE for offset in lost), "only dropped bytes may be missing"
    assert world.cursor.in_flight == 0


@given(events)
@settings(max_examples=200, deadline=None)
def test_without_drops_nothing_is_missing(steps: list[tuple[str, int]]) -> None:
    world = World()
    world.run([step for step in steps if step[0] != "drop"])
    world.run([("send", 100), ("deliver", 9), ("answer", 9)] * 200)
    assert world.server == list(range(len(world.file)))


def test_server_that_is_ahead_is_followed() -> None:
    cursor = LogCursor()
    cursor.size = 1000
    cursor.mark_sent(cursor.next_chunk(100) or pytest.fail("nothing to send"))
    cursor.on_ack(700)
    assert cursor.next_chunk(1000) == Chunk(700, 300)


def test_first_chunk_after_a_connect_goes_alone() -> None:
    cursor = LogCursor()
    cursor.size = 1000
    cursor.mark_sent(cursor.next_chunk(100) or pytest.fail("nothing to send"))
    assert cursor.next_chunk(100) is None
    cursor.on_ack(100)
    cursor.mark_sent(cursor.next_chunk(100) or pytest.fail("nothing to send"))
    assert cursor.next_chunk(100) == Chunk(200, 100)


def test_dropping_what_was_sent_is_refused() -> None:
    cursor = LogCursor()
    cursor.size = 1000
    cursor.mark_sent(cursor.next_chunk(100) or pytest.fail("nothing to send"))
    with pytest.raises(ValueError, match="100 were sent"):
        cursor.mark_dropped(50)
