"""Which bytes of a task's log are read: all, those after a position, or for a long one its beginning and its end.

A log is the logs of its leases, one after the other. Pure functions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from edge_store.jobs.logs import OPEN_END, LeaseLog

Position = tuple[UUID, int]
"""A lease, and an offset in its log."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of the log of one lease, from `start` up to, not including, `end`."""

    lease: UUID
    start: int = 0
    end: int = OPEN_END
    within_line: bool = False
    """It may start within a line, which is left out."""


def everything(leases: Sequence[LeaseLog]) -> list[Part]:
    """Return the whole log, with what arrives while it is read."""
    return [Part(lease.id) for lease in leases]


def between(leases: Sequence[LeaseLog], start: Position | None, end: Position) -> list[Part]:
    """Return what lies between two positions. Without a start, or if its lease is deleted: from the beginning."""
    ids = [lease.id for lease in leases]
    first = ids.index(start[0]) if start and start[0] in ids else 0
    last = ids.index(end[0])
    parts = []
    for index in range(first, last + 1):
        begins = start[1] if start and ids[index] == start[0] else 0
        ends = end[1] if index == last else OPEN_END
        if begins < ends:
            parts.append(Part(ids[index], begins, ends))
    return parts


def ends(
    leases: Sequence[LeaseLog], end: Position, head_bytes: int, tail_bytes: int
) -> tuple[list[Part], int, list[Part]]:
    """Return the beginning of a log, the number of bytes left out after it, and its end.

    A log that is not longer than both together has nothing left out.
    """
    sizes = [(lease.id, end[1] if lease.id == end[0] else lease.log_bytes) for lease in leases]
    left_out = sum(size for _, size in sizes) - head_bytes - tail_bytes
    if left_out <= 0:
        return between(leases, None, end), 0, []
    return list(_first(sizes, head_bytes)), left_out, list(_last(sizes, tail_bytes))[::-1]


def _first(sizes: Sequence[tuple[UUID, int]], room: int) -> Iterator[Part]:
    for lease, size in sizes:
        if taken := min(size, room):
            yield Part(lease, 0, taken)
            room -= taken


def _last(sizes: Sequence[tuple[UUID, int]], room: int) -> Iterator[Part]:
    for lease, size in reversed(sizes):
        if taken := min(size, room):
            yield Part(lease, size - taken, size, within_line=taken < size)
            room -= taken
