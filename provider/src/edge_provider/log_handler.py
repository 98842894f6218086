"""Airflow's handler of task logs, which does not read a long log of a running edge task again at each poll.

Airflow's UI asks for the whole log every few seconds while a task runs. Airflow's own handler then reads all of it and
parses each line, which takes many seconds of CPU for a log of 64 MiB. This handler returns the beginning and the end of
such a log, a "fragment" in terms of the REST API; `full_content=true` returns all of it, and so does every call once
the task has ended. A client that follows the log with continuation tokens gets each new line once, and only those are
read.
"""

from collections.abc import Generator, Iterator
from itertools import chain
from typing import Any, Final
from uuid import UUID

from airflow.utils.log.file_task_handler import FileTaskHandler, StructuredLogMessage, _interleave_logs
from airflow.utils.state import TaskInstanceState

from edge_provider import log_parts, log_reader
from edge_provider.log_parts import Part, Position
from edge_store.jobs.logs import LeaseLog

HEAD_BYTES = 128 * 1024
TAIL_BYTES = 1024 * 1024

POSITION: Final = "edge_position"
"""In the metadata of a continuation token: where the last answer ended."""


class EdgeTaskHandler(FileTaskHandler):  # type: ignore[misc]
    """`FileTaskHandler` for all tasks, except for the logs of running edge tasks and their continuation."""

    def _read(self, ti: Any, try_number: int, metadata: Any = None) -> Any:
        """Return the messages of a log, and the metadata of the continuation token."""
        asked = metadata or {}
        position = _position(asked.get(POSITION))
        follows = ti.state == TaskInstanceState.RUNNING and ti.try_number == try_number
        fragment = follows and "log_pos" not in asked and not asked.get("download_logs")
        if position is None and not fragment:
            return super()._read(ti, try_number, metadata)
        leases = log_reader.leases_of(self._render_filename(ti, try_number))
        if not leases:
            return super()._read(ti, try_number, metadata)
        end_of_log = ti.try_number != try_number or ti.state not in (
            TaskInstanceState.RUNNING,
            TaskInstanceState.DEFERRED,
        )
        end = (leases[-1].id, leases[-1].log_bytes) if end_of_log else log_reader.end_of_lines(leases)
        if position is None:
            messages: Iterator[StructuredLogMessage] = chain(_header(leases), _fragment(leases, end))
        else:
            if position[0] == end[0]:
                end = max(position, end)
            messages = _messages(log_parts.between(leases, position, end))
        return messages, {"end_of_log": end_of_log, POSITION: [str(end[0]), end[1]]}


def _position(value: Any) -> Position | None:
    return None if value is None else (UUID(value[0]), value[1])


def _header(leases: list[LeaseLog]) -> list[StructuredLogMessage]:
    events = ["::group::Log message source details", *log_reader.sources_of(leases), "::endgroup::"]
    return [StructuredLogMessage(event=event) for event in events]


def _fragment(leases: list[LeaseLog], end: Position) -> Generator[StructuredLogMessage, None, None]:
    head, left_out, tail = log_parts.ends(leases, end, HEAD_BYTES, TAIL_BYTES)
    yield from _messages(head, whole=not left_out)
    if left_out:
        yield StructuredLogMessage(
            event=f"[about {left_out} bytes of this log are not shown while the task runs; the whole log is shown when"
            " the task has ended, and the REST API returns it with full_content=true]"
        )
        yield from _messages(tail)


def _messages(parts: list[Part], *, whole: bool = True) -> Generator[StructuredLogMessage, None, None]:
    yield from _interleave_logs(log_reader.lines(parts, whole=whole))
