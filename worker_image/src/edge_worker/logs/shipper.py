"""All leases' logs together: which log goes next, how much may be in flight, and the bound of the spool.

File work runs in a thread; decisions are made on the event loop, so the cursors need no lock.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from edge_protocol.frames import Log
from edge_worker.logs import disk
from edge_worker.logs.cursor import LogCursor
from edge_worker.tasks.spool import LeaseFolder

log = logging.getLogger(__name__)

FREE_STEP_BYTES = 1 << 20
"""Disk space is given back in steps of this size: one system call and one small file per step."""
_KEEP_BYTES = 4096
_NOTICE_ROOM = 512


@dataclass(eq=False)
class ShippedLog:
    """One lease's log."""

    lease_id: UUID
    folder: LeaseFolder
    path: Path
    cursor: LogCursor
    ended: bool = False
    """The task is over: the file does not grow any more."""


class LogShipper:
    """Logs of all leases in the spool."""

    def __init__(self, spool_max_bytes: int) -> None:
        self._max_bytes = spool_max_bytes
        self._logs: dict[UUID, ShippedLog] = {}

    def add(self, lease_id: UUID, folder: LeaseFolder, path: Path | None, cursor: LogCursor) -> None:
        """Follow a log; a job without a log file has none."""
        if path is not None:
            self._logs[lease_id] = ShippedLog(lease_id, folder, path, cursor)

    async def end(self, lease_id: UUID) -> None:
        """Note that a log does not grow any more."""
        # With its size read first: else it could count as delivered too early.
        if (shipped := self._logs.get(lease_id)) is not None:
            shipped.cursor.size = await asyncio.to_thread(disk.file_size, shipped.path)
            shipped.ended = True

    def discard(self, lease_id: UUID) -> None:
        """Stop following a log."""
        self._logs.pop(lease_id, None)

    def delivered(self, lease_id: UUID) -> bool:
        """Return whether nothing of a log is left to deliver."""
        shipped = self._logs.get(lease_id)
        return shipped is None or (shipped.ended and shipped.cursor.delivered)

    def on_ack(self, lease_id: UUID, offset: int) -> None:
        """Follow the server's word about a log."""
        if lease_id in self._logs:
            self._logs[lease_id].cursor.on_ack(offset)

    def on_refused(self, lease_id: UUID) -> None:
        """Try again with a log that the server may not know any more."""
        if lease_id in self._logs:
            self._logs[lease_id].cursor.rewind()

    def on_disconnect(self) -> None:
        """Forget what was in flight."""
        for shipped in self._logs.values():
            shipped.cursor.rewind()

    @property
    def active(self) -> bool:
        """Whether there is a log to look at."""
        return bool(self._logs)

    async def poll(self) -> bool:
        """Look at the files, keep the spool within its bound, and return whether there is something to send."""
        watched = list(self._logs.values())
        sizes = await asyncio.to_thread(lambda: [disk.file_size(shipped.path) for shipped in watched])
        for shipped, size in zip(watched, sizes, strict=True):
            shipped.cursor.size = max(shipped.cursor.size, size)
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
            if chunk is None:
                continue
            data = await asyncio.to_thread(disk.read_piece, shipped.path, chunk.offset, chunk.length)
            if len(data) != chunk.length or shipped.cursor.next_chunk(min(chunk_bytes, room)) != chunk:
                continue
            shipped.cursor.mark_sent(chunk)
            # Taking turns: one chatty task must not hold up the others' logs.
            if lease_id in self._logs:
                self._logs[lease_id] = self._logs.pop(lease_id)
            return Log(lease_id=lease_id, offset=chunk.offset, skipped=chunk.skipped, data=data)
        return None

    async def _free_delivered(self, shipped: ShippedLog) -> None:
        cursor = shipped.cursor
        # The last acknowledged bytes stay: they tell whether a notice has to start a new line.
        upto = (cursor.acked - _KEEP_BYTES) // FREE_STEP_BYTES * FREE_STEP_BYTES
        if cursor.hole and cursor.acked >= cursor.hole.end:
            upto = max(upto, cursor.hole.end)
        if upto <= cursor.freed:
            return
        start = cursor.freed
        cursor.mark_freed(upto)
        await asyncio.to_thread(_write_and_free, shipped.folder, cursor, shipped.path, start, upto)

    async def _enforce_bound(self) -> None:
        excess = sum(shipped.cursor.retained for shipped in self._logs.values()) - self._max_bytes
        if excess <= 0:
            return
        # The largest backlog gives way first, so that one chatty task does not cost the others their logs.
        for shipped in sorted(self._logs.values(), key=lambda shipped: shipped.cursor.retained, reverse=True):
            if excess <= 0:
                return
            excess -= await self._drop(shipped, max(excess, min(FREE_STEP_BYTES, self._max_bytes // 8)))

    async def _drop(self, shipped: ShippedLog, wanted: int) -> int:
        """Drop about `wanted` of the oldest bytes that were never sent; return how many."""
        cursor, before = shipped.cursor, shipped.cursor.retained
        first = cursor.earliest_notice() + _NOTICE_ROOM
        end = await asyncio.to_thread(disk.next_line_start, shipped.path, min(first + wanted, cursor.size))
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
        await asyncio.to_thread(_write_and_free, shipped.folder, cursor, shipped.path, start, end - len(notice), notice)
        return before - cursor.retained


def _write_and_free(
    folder: LeaseFolder, cursor: LogCursor, path: Path, start: int, end: int, notice: bytes = b""
) -> None:
    try:
        if notice:
            disk.overwrite(path, end, notice)
        folder.write_progress(cursor)
        disk.free(path, start, end)
    except OSError as error:
        log.warning("cannot give back disk space of %s: %s", path, error.strerror)
