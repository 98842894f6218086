"""Append task logs: group commit over all workers, and a true answer to chunks that do not fit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from edge_api.database.pool import Database
from edge_api.metrics import Metrics
from edge_store.jobs import logs

MERGED_BYTES_MAX: Final = 1 << 20
"""Adjacent chunks are stored as one row up to this size."""


@dataclass(frozen=True, slots=True)
class LogResult:
    """What became of a chunk. `end`: the next byte expected; None: the lease is not the worker's."""

    end: int | None
    superseded: bool = False
    """A later chunk of the same batch has the answer for both."""


@dataclass(slots=True)
class _Run:
    """Adjacent chunks of one lease, merged."""

    chunk: logs.LogChunk
    members: list[int]


class LogWriter:
    """Flush function for log chunks."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    async def flush(self, chunks: Sequence[logs.LogChunk]) -> list[LogResult]:
        """Append chunks in order and say for each what became of it."""
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
        ends = await self._append(chunks)
        misfits = [chunk for chunk in chunks if (chunk.lease_id, chunk.worker) not in ends]
        if misfits:
            rows = await self._database.rows(logs.log_ends([chunk.lease_id for chunk in misfits]), "log_ends")
            ends.update({(row.id, row.worker_name): row.log_bytes for row in rows})
            trimmed = [
                rest
                for chunk in misfits
                if (end := ends.get((chunk.lease_id, chunk.worker))) is not None
                and (rest := unstored_rest(chunk, end)) is not None
            ]
            if trimmed:
                ends.update(await self._append(trimmed))
        return ends

    async def _append(self, chunks: Sequence[logs.LogChunk]) -> dict[tuple[UUID, str], int]:
        # A chunk without bytes only asks where the log ends.
        real = {chunk.lease_id: chunk for chunk in chunks if chunk.data}
        if not real:
            return {}
        rows = await self._database.rows(logs.append(list(real.values())), "log_append")
        self._metrics.log_bytes.inc(sum(len(real[row.lease_id].data) for row in rows))
        return {(row.lease_id, real[row.lease_id].worker): row.log_bytes for row in rows}


def merge(chunks: Sequence[logs.LogChunk]) -> list[_Run]:
    """Join chunks that continue the one before of their lease and worker; the order within a lease stays."""
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
