"""How far one lease's log is delivered: pure bookkeeping of offsets, and the file that keeps it over restarts.

    0 ........ freed ........ acked ........ sent ........ [hole) ........ size
    freed on disk       the server has it    in flight     dropped         to send

Offsets count bytes from the start of the task's log file. The server's acknowledgement decides which byte it expects
next: it can be ahead (the server got chunks whose answer was lost) or behind (it lost something), and the cursor
follows both. A hole is the part that the bounded spool dropped. It always lies after every byte ever sent, so the
server never cuts off its end, where a notice for the reader stands in the file itself.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_worker.host.files import read_json, write_json


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the file to send. `skipped` bytes before `offset` are permanently lost."""

    offset: int
    length: int
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Hole:
    """Dropped bytes: from `start` up to, not including, `end`."""

    start: int
    end: int


class LogCursor:
    """Offsets of one log."""

    def __init__(self, *, acked: int = 0, freed: int = 0, hole: Hole | None = None) -> None:
        self.acked = acked
        """The server has every byte before this one, or knows that it is lost."""
        self.freed = freed
        """Disk space before this byte is freed."""
        self.hole = hole
        self.size = 0
        """Bytes in the file, as last seen."""
        self.sent = acked
        """Next byte to send."""
        self.highest_sent = max(acked, hole.start if hole else 0)
        # After a connect, and after an answer without progress, a single chunk finds out which byte the server expects.
        self._probing = True
        self._probe_out = False

    @property
    def in_flight(self) -> int:
        """Bytes sent and not acknowledged."""
        gone = max(0, min(self.sent, self.freed) - self.acked)
        if self.hole:
            gone += max(0, min(self.sent, self.hole.end) - max(self.acked, self.freed, self.hole.start))
        return max(0, self.sent - self.acked - gone)

    @property
    def retained(self) -> int:
        """Bytes that occupy disk space."""
        hole = self.hole
        holed = max(0, hole.end - max(hole.start, self.freed)) if hole else 0
        return max(0, self.size - self.freed - holed)

    @property
    def delivered(self) -> bool:
        """Whether the server has everything."""
        return self.acked >= self.size

    def next_chunk(self, limit: int) -> Chunk | None:
        """Return the next piece to send, at most `limit` bytes; None: nothing now."""
        if self._probing and self._probe_out:
            return None
        start, end = self.sent, self.size
        if start < self.freed:
            start = self.freed
        if self.hole:
            if self.hole.start <= start < self.hole.end:
                start = self.hole.end
            elif start < self.hole.start:
                end = min(end, self.hole.start)
        length = min(end - start, limit)
        return Chunk(start, length, start - self.sent) if length > 0 else None

    def mark_sent(self, chunk: Chunk) -> None:
        """Note that a chunk was sent."""
        self.sent = chunk.offset + chunk.length
        self.highest_sent = max(self.highest_sent, self.sent)
        self._probe_out = True

    def on_ack(self, offset: int) -> None:
        """Follow the server's answer about the byte that it expects next."""
        self._probe_out = False
        if offset > self.acked:
            self._probing = False
            self.sent = max(self.sent, offset)
        else:
            # No progress: the chunk did not fit. The answers to the other chunks in flight will be the same.
            self._probing = True
            self.sent = offset
        self.acked = offset
        self.highest_sent = max(self.highest_sent, offset)

    def rewind(self) -> None:
        """Send all unacknowledged bytes again: the connection broke, or the server refused them."""
        self.sent = self.acked
        self._probing = True
        self._probe_out = False

    def mark_freed(self, upto: int) -> None:
        """Note that disk space before `upto` is freed."""
        self.freed = max(self.freed, upto)
        if self.hole and self.freed >= self.hole.end:
            self.hole = None

    def drop_start(self) -> int:
        """Return the first offset that can be dropped: after everything that the server may have seen."""
        if self.hole and self.acked < self.hole.end:
            return self.hole.start
        return max(self.highest_sent, self.freed)

    def earliest_notice(self) -> int:
        """Return the first offset at which a notice may stand."""
        return max(self.highest_sent, self.freed, self.hole.end if self.hole else 0)

    def mark_dropped(self, end: int) -> None:
        """Note that bytes from `drop_start()` up to `end` were dropped; a notice stands at `end`.

        Raises:
            ValueError: `end` lies before bytes that were sent, or leaves no room for the notice.

        """
        if not self.earliest_notice() <= end < self.size:
            raise ValueError(f"cannot drop up to {end} of {self.size} bytes, {self.highest_sent} were sent")
        self.hole = Hole(self.drop_start(), end)


def write_progress(file: Path, cursor: LogCursor) -> None:
    """Store the cursor before disk space is freed, so that a restart does not read freed bytes.

    Raises:
        OSError: the folder is missing, full or read-only.

    """
    hole = [cursor.hole.start, cursor.hole.end] if cursor.hole else None
    write_json(file, {"acked": cursor.acked, "freed": cursor.freed, "hole": hole})


def read_progress(file: Path) -> LogCursor:
    """Return a cursor at the stored progress; at the start where nothing is stored or the file is damaged."""
    try:
        content: Any = read_json(file)
        hole = content["hole"]
        return LogCursor(
            acked=int(content["acked"]),
            freed=int(content["freed"]),
            hole=Hole(int(hole[0]), int(hole[1])) if hole else None,
        )
    except (OSError, TypeError, KeyError, IndexError, ValueError, OverflowError):
        return LogCursor()
