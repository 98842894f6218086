r"""The way of task logs to the edge API: all leases' logs together, within a window and within the bound of the spool.

    task appends --> `poll` sees the size --> `next_frame` reads a piece --> ack(log) moves the cursor --> disk is freed
                          \-- spool full: the oldest unsent bytes of the largest backlog are dropped, with a notice

File operations run in a thread; decisions are made on the event loop, so the cursors need no lock.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from edge_protocol.frames import Log
from edge_worker.logs import disk
from edge_worker.logs.cursor import LogCursor, read_progress, write_progress

log = logging.getLogger(__name__)

FREE_STEP_BYTES = 1 << 20
"""Disk space is freed in steps of this size: one system call and one small file per step."""
REFUSALS_MAX = 3
"""After this many refusals without progress a log is given up: the edge API does not know its lease any more."""
_KEEP_BYTES = 4096
_NOTICE_ROOM = 512


@dataclass(eq=False)
class ShippedLog:
    """One lease's log."""

    lease_id: UUID
    path: Path
    progress: Path
    """The file that keeps the cursor over restarts."""
    cursor: LogCursor
    ended: bool = False
    """The task has ended: the file no longer grows."""
    refusals: int = 0
    """How often it was refused since its last acknowledgement."""
    lost: str | None = None
    """Why it is no longer sent; what the task writes is dropped."""


class LogShipper:
    """Logs of all leases in the spool."""

    def __init__(self, spool_max_bytes: int) -> None:
        self._max_bytes = spool_max_bytes
        self._logs: dict[UUID, ShippedLog] = {}

    def add(self, lease_id: UUID, path: Path | None, progress: Path) -> None:
        """Follow a log, starting at the stored progress; `path` is None for a job without a log."""
        if path is not None:
            self._logs[lease_id] = ShippedLog(lease_id, path, progress, read_progress(progress))

    async def end(self, lease_id: UUID) -> None:
        """Note that a log no longer grows."""
        # The size is read first: otherwise the log could count as delivered too early.
        if (shipped := self._logs.get(lease_id)) is not None:
            shipped.cursor.size = await asyncio.to_thread(_size, shipped)
            shipped.ended = True

    def discard(self, lease_id: UUID) -> None:
        """Stop following a log."""
        self._logs.pop(lease_id, None)

    def delivered(self, lease_id: UUID) -> bool:
        """Return whether a log is delivered to its end."""
        shipped = self._logs.get(lease_id)
        return shipped is None or (shipped.ended and (shipped.lost is not None or shipped.cursor.delivered))

    def on_ack(self, lease_id: UUID, offset: int) -> None:
        """Follow the server's answer about a log."""
        if (shipped := self._logs.get(lease_id)) is not None:
            shipped.refusals = 0
            shipped.cursor.on_ack(offset)

    def on_refused(self, lease_id: UUID, reason: str) -> None:
        """Try again with a log that the edge API could not store; give it up after some refusals."""
        if (shipped := self._logs.get(lease_id)) is not None:
            shipped.refusals += 1
            shipped.cursor.rewind()
            if shipped.refusals >= REFUSALS_MAX:
                _give_up(shipped, reason)

    def on_disconnect(self) -> None:
        """Send all pieces in flight again in the next session."""
        for shipped in self._logs.values():
            shipped.cursor.rewind()

    @property
    def active(self) -> bool:
        """Whether any log is followed."""
        return bool(self._logs)

    async def poll(self) -> bool:
        """Check the files, keep the spool within its bound, and return whether there is something to send."""
        watched = list(self._logs.values())
        sizes = await asyncio.to_thread(lambda: [_size(shipped) for shipped in watched])
        for shipped, size in zip(watched, sizes, strict=True):
            shipped.cursor.size = max(shipped.cursor.size, size)
            if shipped.lost is not None:
                # Its disk space is freed as if it were delivered.
                shipped.cursor.on_ack(shipped.cursor.size)
        for shipped in watched:
            await self._free_delivered(shipped)
        await self._enforce_bound()
        return any(shipped.cursor.next_chunk(1) for shipped in self._logs.values())

    async def next_frame(self, chunk_bytes: int, window_bytes: int) -> Log | None:
        """Return the next log frame within the window of unacknowledged bytes, or None for now."""
        room = window_bytes - sum(shipped.cursor.in_flight for shipped in self._logs.values())
        if room <= 0:
            return None
        for lease_id, shipped in list(self._logs.items()):
            chunk = shipped.cursor.next_chunk(min(chunk_bytes, room))
            if chunk is None or shipped.lost is not None:
                continue
            try:
                data = await asyncio.to_thread(disk.read_piece, shipped.path, chunk.offset, chunk.length)
            except OSError as error:
                _give_up(shipped, f"it cannot be read ({error.strerror})")
                continue
            if len(data) != chunk.length or shipped.cursor.next_chunk(min(chunk_bytes, room)) != chunk:
                continue
            shipped.cursor.mark_sent(chunk)
            # Logs take turns: one task that logs much must not delay the others' logs.
            if lease_id in self._logs:
                self._logs[lease_id] = self._logs.pop(lease_id)
            return Log(lease_id=lease_id, offset=chunk.offset, skipped=chunk.skipped, data=data)
        return None

    async def _free_delivered(self, shipped: ShippedLog) -> None:
        cursor = shipped.cursor
        # The last acknowledged bytes stay: they show whether a notice must start a new line.
        upto = (cursor.acked - _KEEP_BYTES) // FREE_STEP_BYTES * FREE_STEP_BYTES
        if cursor.hole and cursor.acked >= cursor.hole.end:
            upto = max(upto, cursor.hole.end)
        if upto <= cursor.freed:
            return
        start = cursor.freed
        cursor.mark_freed(upto)
        await asyncio.to_thread(_store_and_free, shipped, start, upto)

    async def _enforce_bound(self) -> None:
        excess = sum(shipped.cursor.retained for shipped in self._logs.values()) - self._max_bytes
        if excess <= 0:
            return
        # The largest backlog is dropped first, so that one task that logs much does not cost the others their logs.
        for shipped in sorted(self._logs.values(), key=lambda shipped: shipped.cursor.retained, reverse=True):
            if excess <= 0:
                return
            try:
                excess -= await self._drop(shipped, max(excess, min(FREE_STEP_BYTES, self._max_bytes // 8)))
            except OSError as error:
                _give_up(shipped, f"it cannot be read ({error.strerror})")

    async def _drop(self, shipped: ShippedLog, amount: int) -> int:
        """Drop about `amount` of the oldest bytes that were never sent; return how many."""
        cursor, before = shipped.cursor, shipped.cursor.retained
        first = cursor.earliest_notice() + _NOTICE_ROOM
        end = await asyncio.to_thread(disk.next_line_start, shipped.path, min(first + amount, cursor.size))
        end = min(end, cursor.size)
        if end < first or shipped.lease_id not in self._logs:
            return 0
        start = cursor.drop_start()
        newline = b"" if await asyncio.to_thread(disk.ends_line, shipped.path, start) else b"\n"
        notice = newline + disk.log_line("warning", f"{end - start} bytes of log dropped: the worker's spool is full")
        if end - len(notice) < cursor.earliest_notice():
            return 0
        cursor.mark_dropped(end - len(notice))
        log.warning("spool is full: dropped %d bytes of log of lease %s", end - start, shipped.lease_id)
        await asyncio.to_thread(_store_and_free, shipped, start, end - len(notice), notice)
        return before - cursor.retained


def _size(shipped: ShippedLog) -> int:
    try:
        return disk.file_size(shipped.path)
    except OSError:
        # A disk with errors must not end the worker and with it all tasks; reading the log gives up this one.
        return shipped.cursor.size


def _give_up(shipped: ShippedLog, reason: str) -> None:
    """Send no more of a log; its task goes on."""
    if shipped.lost is None:
        log.warning("the log of lease %s is no longer sent: %s", shipped.lease_id, reason)
        shipped.lost = reason


def _store_and_free(shipped: ShippedLog, start: int, end: int, notice: bytes = b"") -> None:
    """Write the notice, store the cursor, then free the disk space of a range."""
    try:
        if notice:
            disk.overwrite(shipped.path, end, notice)
        write_progress(shipped.progress, shipped.cursor)
        disk.free(shipped.path, start, end)
    except OSError as error:
        log.warning("cannot free disk space of %s: %s", shipped.path, error.strerror)
