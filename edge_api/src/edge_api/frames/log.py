"""`log`: a piece of a task's log. Pieces of all workers are appended in one statement, then acknowledged.

A piece that does not fit is answered with where the log really ends, so that the worker goes on from there. A piece
beyond the log's limit is acknowledged like any other, so that the worker frees its spool and its task goes on. A piece
for which the process has no room is not kept, and the worker is asked for it later, by the same answer.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NoReturn
from uuid import UUID

from edge_api.database.batcher import Batcher
from edge_api.database.pool import Database
from edge_api.held_bytes import HeldBytes
from edge_api.metrics import Metrics
from edge_api.sessions.log_room import LogRoom
from edge_api.sessions.session import ITEM_OVERHEAD, Session
from edge_protocol.frames import Ack, Fenced, Log
from edge_store.jobs import logs

MERGED_BYTES_MAX: Final = 1 << 20
"""Adjacent chunks are stored as one row up to this size."""

OFFSETS: Final = range(2**62)

GIVE_S: Final = 1.0

_BATCH_BYTES: Final = 4 << 20
_ROW_OVERHEAD: Final = 512


@dataclass(frozen=True, slots=True)
class LogResult:
    """Result for a chunk. `end`: the next byte expected; None: the lease is not the worker's."""

    end: int | None
    superseded: bool = False
    """A later chunk of the same batch carries the answer for both."""


@dataclass(slots=True)
class _Run:
    """Adjacent chunks of one lease, merged."""

    chunk: logs.LogChunk
    members: list[int]


class LogHandler:
    """Handles `log` frames."""

    def __init__(
        self, database: Database, metrics: Metrics, held: HeldBytes, max_bytes: int, window_bytes: int
    ) -> None:
        self._database = database
        self._limit = logs.LogLimit(max_bytes, notice(max_bytes))
        self._metrics = metrics
        self.batcher: Batcher[logs.LogChunk, LogResult] = Batcher(
            "logs", self._append_all, most=_BATCH_BYTES, weigh=lambda chunk: len(chunk.data) + _ROW_OVERHEAD
        )
        self._room: LogRoom[Session] = LogRoom(held, metrics, window_bytes, self._ask)
        held.freed = self._room.give

    def handle(self, session: Session, frame: Log) -> None:
        """Append to the task's log, then send where it ends."""
        if frame.offset not in OFFSETS or frame.skipped not in OFFSETS:
            session.complain("log.offset: Input should be less than 2^62")
            return
        chunk = logs.LogChunk(frame.lease_id, session.worker, frame.offset, frame.skipped, frame.data)
        if not chunk.data or self._room.admits(session, chunk.lease_id, len(chunk.data) + ITEM_OVERHEAD):
            self._submit(session, chunk)

    def _submit(self, session: Session, chunk: logs.LogChunk) -> None:
        session.track(self.batcher.submit(chunk), partial(self._answer, session, chunk.lease_id), len(chunk.data))

    def _ask(self, session: Session, leases: set[UUID]) -> None:
        """Send where logs end, so that the worker sends what follows."""
        for lease in leases:
            self._submit(session, logs.LogChunk(lease, session.worker, 0, 0, b""))

    async def run(self) -> NoReturn:
        """Give room away forever, also when nothing happens that frees some: a worker may not use its own."""
        while True:
            await asyncio.sleep(GIVE_S)
            self._room.give()

    def _answer(self, session: Session, lease: UUID, result: LogResult) -> None:
        if result.end is None:
            self._metrics.fenced.labels("log").inc()
            session.send(
                Fenced(of="log", lease_id=lease, reason="The log is unknown here, or another worker's. Drop it.")
            )
        elif not result.superseded:
            session.send(Ack(of="log", lease_id=lease, offset=result.end))

    async def _append_all(self, chunks: Sequence[logs.LogChunk]) -> list[LogResult]:
        """Append chunks in order and return the result for each."""
        results = [LogResult(None)] * len(chunks)
        rest = merge(chunks)
        while rest:
            # The statement takes one chunk per lease; what a lease has beyond that waits for the next turn.
            turn: dict[UUID, _Run] = {}
            later = []
            for run in rest:
                if run.chunk.lease_id in turn:
                    later.append(run)
                else:
                    turn[run.chunk.lease_id] = run
            ends = await self._write([run.chunk for run in turn.values()])
            for run in turn.values():
                end = ends.get((run.chunk.lease_id, run.chunk.worker))
                for member in run.members:
                    results[member] = LogResult(end, superseded=end is not None and member != run.members[-1])
            rest = later
        return results

    async def _write(self, chunks: Sequence[logs.LogChunk]) -> dict[tuple[UUID, str], int]:
        """Write at most one chunk per lease; return where each log ends now, by lease and worker."""
        ends = await self.append(chunks)
        misfits = [chunk for chunk in chunks if (chunk.lease_id, chunk.worker) not in ends]
        if misfits:
            rows = await self._database.rows(logs.log_ends([chunk.lease_id for chunk in misfits]))
            ends.update({(row.id, row.worker_name): row.log_bytes for row in rows})
            trimmed = [
                rest
                for chunk in misfits
                if (end := ends.get((chunk.lease_id, chunk.worker))) is not None
                and (rest := unstored_rest(chunk, end)) is not None
            ]
            if trimmed:
                ends.update(await self.append(trimmed))
        return ends

    async def append(self, chunks: Sequence[logs.LogChunk]) -> dict[tuple[UUID, str], int]:
        """Append at most one chunk per lease; return where those logs end now that have grown, by lease and worker."""
        # A chunk without bytes only asks where the log ends.
        workers = {chunk.lease_id: chunk.worker for chunk in chunks if chunk.data}
        if not workers:
            return {}
        statement = logs.append([chunk for chunk in chunks if chunk.data], self._limit)
        rows = await self._database.rows(statement)
        for row in rows:
            self._metrics.log_bytes.inc(row.stored)
            self._metrics.log_bytes_discarded.inc(row.discarded)
            if row.truncated:
                self._metrics.logs_truncated.inc()
        return {(row.lease_id, workers[row.lease_id]): row.log_bytes for row in rows}


def notice(max_bytes: int) -> bytes:
    """Return the line that stands in a task's log where bytes are missing, in the format of Airflow's task logs."""
    event = (
        f"[log truncated: this log has more than {max_bytes} bytes, the limit of the edge API's setting"
        " EDGE_API_LOG_MAX_BYTES. What the task logged from here on is not stored, except for the end of the log.]"
    )
    # The line before it may have been cut off.
    return b"\n" + json.dumps({"event": event, "level": "warning", "logger": "edge_api"}).encode() + b"\n"


def merge(chunks: Sequence[logs.LogChunk]) -> list[_Run]:
    """Join chunks that continue the previous one of their lease and worker; the order within a lease stays."""
    runs: list[_Run] = []
    last: dict[tuple[UUID, str], _Run] = {}
    for index, chunk in enumerate(chunks):
        run = last.get((chunk.lease_id, chunk.worker))
        if (
            run is not None
            and chunk.skipped == 0
            and chunk.data
            and run.chunk.data
            and chunk.start == run.chunk.start + len(run.chunk.data)
            and len(run.chunk.data) + len(chunk.data) <= MERGED_BYTES_MAX
        ):
            run.chunk = replace(run.chunk, data=run.chunk.data + chunk.data)
            run.members.append(index)
            continue
        run = _Run(chunk, [index])
        last[chunk.lease_id, chunk.worker] = run
        runs.append(run)
    return runs


def unstored_rest(chunk: logs.LogChunk, end: int) -> logs.LogChunk | None:
    """Return the part of an overlapping chunk that is not stored yet, or None if there is none or it leaves a gap."""
    known = end - chunk.start
    if 0 < known < len(chunk.data):
        return replace(chunk, start=end, skipped=0, data=chunk.data[known:])
    return None
