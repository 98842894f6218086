"""Airflow's own reader of task logs with the handler of edge tasks, against real PostgreSQL: what each poll reads."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import airflow.logging_config
import pytest
from airflow.utils.log.log_reader import TaskLogReader
from airflow.utils.state import TaskInstanceState
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from edge_provider import log_handler
from edge_provider.log_handler import EdgeTaskHandler
from edge_provider.log_reader import EdgeTaskLog
from edge_store.database.statement import rows, run
from edge_store.jobs import logs
from edge_testing.database.records import LOG_LIMIT


@dataclass
class Task:
    """A task instance as the api-server has it, and the lease that writes its log."""

    session: Session
    limit: logs.LogLimit = LOG_LIMIT
    state: TaskInstanceState = TaskInstanceState.RUNNING
    lease: UUID = field(default_factory=uuid4)
    written: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.job = uuid4()
        self.resume()

    def resume(self) -> None:
        """Give the task a new lease, as after a deferral."""
        self.lease = uuid4()
        run(self.session, logs.open_log(self.lease, self.job, "w1", "a.log"))
        self.session.commit()

    def write(self, data: bytes) -> None:
        rows(self.session, logs.append([logs.LogChunk(self.lease, "w1", logs.AT_END, 0, data)], self.limit))
        self.session.commit()

    def log(self, count: int, width: int = 0) -> None:
        """Log numbered lines in the format of Airflow."""
        names = [f"line {len(self.written) + number}{' ' * width}" for number in range(count)]
        self.written += names
        self.write(b"".join(json.dumps({"event": name, "level": "info"}).encode() + b"\n" for name in names))

    @property
    def ti(self) -> Any:
        template = SimpleNamespace(filename="a.log")
        run_ = SimpleNamespace(
            logical_date=datetime.now(UTC), get_log_template=lambda **_: template, data_interval_start=None
        )
        run_.data_interval_end = None
        return SimpleNamespace(
            get_dagrun=lambda **_: run_,
            state=self.state,
            try_number=1,
            executor=None,
            dag_id="d",
            task_id="t",
            run_id="r",
            hostname="",
            triggerer_job=None,
        )

    def read(self, **metadata: Any) -> tuple[list[str], dict[str, Any]]:
        """Ask as the REST API does for JSON; return the events and the content of the continuation token."""
        stream, out = reader().read_log_chunks(self.ti, 1, {"download_logs": False, **metadata})
        token = json.loads(json.dumps(out))
        events = [message.event for message in stream]
        if "::endgroup::" in events:
            events = events[events.index("::endgroup::") + 1 :]
        return events, token

    def poll(self) -> list[str]:
        """Ask as the UI does."""
        return [json.loads(line)["event"] for line in reader().read_log_stream(self.ti, 1, {"download_logs": False})]


def reader() -> TaskLogReader:
    made = TaskLogReader()
    made.log_handler = EdgeTaskHandler("/no-such-folder")
    return made


@pytest.fixture
def task(session: Session, monkeypatch: pytest.MonkeyPatch) -> Task:
    """A running task, in an Airflow that reads logs with our reader and handler."""
    monkeypatch.setattr(airflow.logging_config, "get_remote_task_log", EdgeTaskLog)
    executor = SimpleNamespace(get_task_log=lambda *_: (["runs on an edge worker"], []))
    monkeypatch.setitem(EdgeTaskHandler.executor_instances, EdgeTaskHandler.DEFAULT_EXECUTOR_KEY, executor)
    return Task(session)


@pytest.fixture
def statements(db: Engine) -> Iterator[list[int]]:
    """The number of rows of each statement."""
    seen: list[int] = []

    def note(connection: Any, cursor: Any, *_: Any) -> None:
        seen.append(cursor.rowcount)

    event.listen(db, "after_cursor_execute", note)
    yield seen
    event.remove(db, "after_cursor_execute", note)


def test_a_poll_of_a_long_log_reads_its_beginning_and_its_end(task: Task, statements: list[int]) -> None:
    for _ in range(40):
        task.log(1000, width=200)
    statements.clear()
    events = task.poll()
    assert (len(statements), sum(statements) < 20) == (4, True)
    [cut] = [number for number, line in enumerate(events) if "bytes of this log are not shown" in line]
    start = events.index("::endgroup::") + 1
    head, tail = events[start:cut], events[cut + 1 :]
    assert events[1].startswith("edge://w1/a.log (")
    assert head == task.written[: len(head)]
    assert tail == task.written[-len(tail) :]
    assert log_handler.HEAD_BYTES - 300 < sum(len(line) + 32 for line in head) < log_handler.HEAD_BYTES + 300 * 100
    assert len(tail) > 3000
    whole, _ = task.read(download_logs=True)
    assert whole == task.written
    task.state = TaskInstanceState.SUCCESS
    assert task.poll()[-len(task.written) :] == task.written


def test_a_short_log_is_shown_whole_at_each_poll(task: Task) -> None:
    assert [line for line in task.poll() if line.startswith("line")] == []
    task.log(10)
    task.write(b"half a li")
    for _ in range(2):
        assert task.poll()[-10:] == task.written
    task.write(b"ne\n")
    assert task.poll()[-1] == "half a line"


def test_following_a_log_by_tokens_gives_each_line_once_and_reads_only_new_ones(
    task: Task, statements: list[int]
) -> None:
    task.log(5)
    seen, token = task.read()
    for step in range(6):
        if step == 3:
            task.resume()
        task.write(b'{"event": "half')
        events, token = task.read(**token)
        assert events == [], step
        task.write(b' a line"}\n')
        task.written.append("half a line")
        task.log(2000, width=100)
        statements.clear()
        events, token = task.read(**token)
        assert sum(statements) < 10
        seen += events
        assert token["end_of_log"] is False
    task.write(b"last words without an end")
    task.state = TaskInstanceState.FAILED
    events, token = task.read(**token)
    assert (seen, events, token["end_of_log"]) == (task.written, ["last words without an end"], True)


def test_a_log_beyond_its_limit_can_be_followed(task: Task) -> None:
    task.limit = logs.LogLimit(200_000, b"\n[truncated]\n")
    task.log(1000)
    seen, token = task.read()
    for _ in range(50):
        task.log(1000, width=50)
        events, token = task.read(**token)
        seen += events
        assert events[-1] == task.written[-1]
    assert seen.count("[truncated]") == 1
    assert set(task.written[:1000]) <= set(seen)
    in_order = [int(line.split()[1]) for line in seen if line.startswith("line ")]
    assert in_order == sorted(set(in_order))


def test_bytes_that_are_no_text_can_be_read(task: Task) -> None:
    task.write(b"\0\xff\xfe binary\n" + b"x" * 3_000_000)
    assert task.poll()[-1] in ("\0\ufffd\ufffd binary", "x" * len(task.poll()[-1]))
    task.state = TaskInstanceState.SUCCESS
    assert [len(line) for line in task.poll()[-2:]] == [10, 3_000_000]


def test_tokens_of_airflows_own_handler_go_on_as_before(task: Task) -> None:
    """A log that was followed while its task was deferred is counted in lines."""
    task.log(5)
    task.state = TaskInstanceState.DEFERRED
    events, token = task.read()
    assert events == task.written
    assert "log_pos" in token
    task.state = TaskInstanceState.RUNNING
    task.resume()
    task.log(3)
    events, token = task.read(**token)
    assert events == task.written[5:]
