"""Where one lease's log stands: pure bookkeeping of offsets, no I/O.

    0 ........ freed ........ acked ........ sent ........ [hole) ........ size
    gone from disk      the server has it    in flight     dropped         to send

Offsets count bytes from the start of the task's log file. The server's acknowledgement is the truth about the next byte
it wants: it can be ahead (it got chunks whose answer was lost) or behind (it lost something), and both are followed.
A hole is what the bounded spool dropped. It always lies past every byte ever sent, so its end, where a notice for the
reader stands in the file itself, is never cut by the server.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the file to send. `skipped` bytes before `offset` are gone for good."""

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
        """The server has every byte before this one (or knows that it is gone)."""
        self.freed = freed
        """Bytes before this one are no longer on the disk."""
        self.hole = hole
        self.size = 0
        """Bytes in the file, as last seen."""
        self.sent = acked
        """Next byte to send."""
        self.highest_sent = max(acked, hole.start if hole else 0)
        # After a connect, and after an answer without progress, one chunk alone finds out what the server wants.
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
        """Bytes that take room on the disk."""
        hole = self.hole
        holed = max(0, hole.end - max(hole.start, self.freed)) if hole else 0
        return max(0, self.size - self.freed - holed)

    @property
    def delivered(self) -> bool:
        """Whether the server has all that there is."""
        return self.acked >= self.size

    def next_chunk(self, limit: int) -> Chunk | None:
        """Return what to send next, at most `limit` bytes, or None for now."""
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
        """Note that a chunk is on its way."""
        self.sent = chunk.offset + chunk.length
        self.highest_sent = max(self.highest_sent, self.sent)
        self._probe_out = True

    def on_ack(self, offset: int) -> None:
        """Follow the server's word about the next byte."""
        self._probe_out = False
        if offset > self.acked:
            self._probing = False
            self.sent = max(self.sent, offset)
        else:
            # No progress: what was in flight did not fit. The answers to the rest of it say the same.
            self._probing = True
            self.sent = offset
        self.acked = offset
        self.highest_sent = max(self.highest_sent, offset)

    def rewind(self) -> None:
        """Send again what was not acknowledged: the connection broke, or the server refused it."""
        self.sent = self.acked
        self._probing = True
        self._probe_out = False

    def mark_freed(self, upto: int) -> None:
        """Note that the file has no bytes before `upto` any more."""
        self.freed = max(self.freed, upto)
        if self.hole and self.freed >= self.hole.end:
            self.hole = None

    def drop_start(self) -> int:
        """Return where bytes can be dropped from: behind everything that the server may have seen."""
        if self.hole and self.acked < self.hole.end:
            return self.hole.start
        return max(self.highest_sent, self.freed)

    def earliest_notice(self) -> int:
        """Return the first offset at which a notice may stand."""
        return max(self.highest_sent, self.freed, self.hole.end if self.hole else 0)

    def mark_dropped(self, end: int) -> None:
        """Note that bytes from `drop_start()` up to `end` are gone; a notice stands at `end`.

        Raises:
            ValueError: `end` lies before bytes that were sent, or leaves no room for the notice.

        """
        if not self.earliest_notice() <= end < self.size:
            raise ValueError(f"cannot drop up to {end} of {self.size} bytes, {self.highest_sent} were sent")
        self.hole = Hole(self.drop_start(), end)
