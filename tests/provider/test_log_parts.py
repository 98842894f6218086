"""Which parts of a log are read."""

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from edge_provider import log_parts
from edge_provider.log_parts import Part
from edge_store.jobs.logs import OPEN_END, LeaseLog

GRANTED = datetime(2026, 11, 27, tzinfo=UTC)


def lease(number: int, size: int) -> LeaseLog:
    return LeaseLog(UUID(int=number), "w1", "a.log", GRANTED, size)


def size_of(parts: list[Part]) -> int:
    return sum(part.end - part.start for part in parts)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(1, 60), st.integers(1, 60))
def test_the_ends_of_a_log_and_what_is_left_out_make_the_whole(sizes: list[int], head: int, tail: int) -> None:
    leases = [lease(number, size) for number, size in enumerate(sizes)]
    first, left_out, last = log_parts.ends(leases, (leases[-1].id, sizes[-1]), head, tail)
    if left_out == 0:
        assert last == []
        assert {each.id for each in leases if each.log_bytes} <= {part.lease for part in first}
        return
    assert (size_of(first), size_of(last), head + tail + left_out) == (head, tail, sum(sizes))
    order = [part.lease for part in [*first, *last]]
    assert order == sorted(order)
    assert [part.within_line for part in last] == [part.start > 0 for part in last]
    for part in last:
        assert part.end == sizes[part.lease.int]


def test_what_follows_a_position() -> None:
    leases = [lease(1, 10), lease(2, 0), lease(3, 7)]
    one, two, three = (each.id for each in leases)
    assert log_parts.between(leases, (one, 4), (three, 7)) == [Part(one, 4), Part(two), Part(three, 0, 7)]
    assert log_parts.between(leases, (three, 5), (three, 7)) == [Part(three, 5, 7)]
    assert log_parts.between(leases, (three, 7), (three, 7)) == []
    deleted = UUID(int=9)
    assert log_parts.between(leases, (deleted, 5), (one, OPEN_END)) == [Part(one)]
