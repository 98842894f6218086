"""Serves task logs from `edge.log`: to every api-server alike, while the task runs and afterwards, without shared disk.

`edge_provider.logging_config` enables it. Airflow also loads the class where there is no database (the Task SDK, for
its upload hook), so nothing here connects before it is called.
"""

import re
from collections.abc import Callable, Generator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

from airflow.configuration import conf
from airflow.logging_config import get_remote_task_log
from airflow.utils.session import create_session
from airflow.utils.state import State

from edge_provider import log_parts
from edge_provider.log_lines import LineSplitter
from edge_provider.log_parts import Part, Position
from edge_store.database.statement import RowT, Statement, rows, run
from edge_store.jobs import logs

PAGE = 8
"""Chunks read in one short transaction; a chunk has at most 1 MiB, so this bounds memory and lock time."""

LONG_LINE_BYTES = 1 << 20
UPLOAD_CHUNK_BYTES = 256 * 1024
TRIGGER_WRITER = "triggerer"
TRIGGER_LIMIT = logs.LogLimit(
    logs.MAX_BYTES,
    f"\n[log truncated: the log of this trigger has more than {logs.MAX_BYTES} bytes. What the trigger logged from here"
    " on is not stored, except for the end of the log.]\n".encode(),
)
_OF_A_TRIGGER = re.compile(r"\.trigger\.[^/]+\.log$")
"""Airflow appends this to the task's log path."""


class EdgeTaskLog:
    """Airflow's remote log reader for the scheme `edge`."""

    processors: tuple[Callable[..., Any], ...] = ()

    @classmethod
    def from_config(cls) -> Self:
        """Return a reader. It needs no configuration: logs are in Airflow's own database."""
        return cls()

    def upload(self, path: str | PathLike[str], ti: Any = None) -> None:
        """Store the log of a trigger that has ended.

        Triggers run in the triggerer, next to the database. Logs of tasks are not uploaded: the agent of an edge worker
        ships them while the task runs, and logs of other executors' tasks stay where those executors keep them.
        """
        relative = fspath(path)
        if ti is None or not _OF_A_TRIGGER.search(relative):
            return
        file = Path(conf.get_mandatory_value("logging", "base_log_folder"), relative)
        if file.stat().st_size > 0:
            _store_file(file, ti.id, relative)

    def stream(self, relative_path: str, ti: Any) -> tuple[list[str], list[Generator[str, None, None]]]:
        """Return the sources, for people, and the lines of all leases that wrote this log, oldest first.

        While the task is unfinished, an incomplete last line is held back: Airflow asks again from the number of lines
        that it has, so half a line would never be completed.
        """
        leases = leases_of(relative_path)
        if not leases:
            return [], []  # not an edge task: Airflow looks elsewhere
        return sources_of(leases), [lines(log_parts.everything(leases), whole=ti.state not in State.unfinished)]

    def read(self, relative_path: str, ti: Any) -> tuple[list[str], list[str] | None]:
        """Return the result of `stream` as one text."""
        sources, streams = self.stream(relative_path, ti)
        return sources, ["\n".join(line for stream in streams for line in stream)] if streams else None


def is_active() -> bool:
    """Return whether Airflow reads task logs through this module."""
    return isinstance(get_remote_task_log(), EdgeTaskLog)


def read_job(job_id: UUID) -> tuple[list[str], list[str]]:
    """Return (messages, logs) of an unfinished job, for an Airflow that has no `edge://` reader configured."""
    leases = _rows(logs.leases_of_job(job_id))
    if not leases:
        return ["The task waits for an edge worker"], []
    return sources_of(leases), ["\n".join(lines(log_parts.everything(leases), whole=False))]


def leases_of(path: str) -> list[logs.LeaseLog]:
    """Return the leases that wrote a log, oldest first; none if it is not of an edge task."""
    return _rows(logs.leases_of_path(path))


def sources_of(leases: Sequence[logs.LeaseLog]) -> list[str]:
    """Return where a log comes from, for people."""
    written = [lease for lease in leases if lease.log_bytes] or leases[-1:]
    return [f"edge://{lease.worker_name}/{lease.log_path} ({lease.log_bytes} bytes)" for lease in written]


def _rows(statement: Statement[RowT]) -> list[RowT]:
    with create_session(scoped=False) as session:
        return rows(session, statement)


def lines(parts: Sequence[Part], *, whole: bool) -> Generator[str, None, None]:
    """Yield the lines of parts of logs, page by page. `whole`: also an incomplete last line."""
    for part in parts:
        splitter = LineSplitter()
        found = _lines_of(part, splitter)
        if part.within_line:
            next(found, None)
        yield from found
        if whole or part is not parts[-1]:
            yield from splitter.flush()


def _lines_of(part: Part, splitter: LineSplitter) -> Generator[str, None, None]:
    start = part.start
    while page := _rows(logs.chunks(part.lease, start, part.end, PAGE)):
        for chunk in page:
            data = bytes(chunk.data)[max(0, start - chunk.start) : part.end - chunk.start]
            if data:
                yield from splitter.feed(max(start, chunk.start), data)
        if len(page) < PAGE:
            return
        start = page[-1].start + len(page[-1].data)


def end_of_lines(leases: Sequence[logs.LeaseLog]) -> Position:
    """Return where the last complete line of a log ends.

    A line of more than `LONG_LINE_BYTES` that is not complete does not count as one to wait for.
    """
    last = next((lease for lease in reversed(leases) if lease.log_bytes), leases[-1])
    end = last.log_bytes
    limit = 1  # nearly always enough
    while page := _rows(logs.chunks_before(last.id, end, limit)):
        for chunk in page:
            newline = bytes(chunk.data).rfind(b"\n")
            if newline >= 0:
                return last.id, chunk.start + newline + 1
        end = page[-1].start
        limit = PAGE
        if last.log_bytes - end > LONG_LINE_BYTES:
            return last.id, last.log_bytes
    return last.id, 0


def _store_file(file: Path, job_id: UUID, log_path: str) -> None:
    lease = uuid4()
    with create_session(scoped=False) as session, file.open("rb") as source:
        run(session, logs.open_log(lease, job_id, TRIGGER_WRITER, log_path))
        while data := source.read(UPLOAD_CHUNK_BYTES):
            rows(session, logs.append([logs.LogChunk(lease, TRIGGER_WRITER, logs.AT_END, 0, data)], TRIGGER_LIMIT))
