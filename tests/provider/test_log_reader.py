"""The reader of task logs against real PostgreSQL."""

from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from airflow.configuration import conf
from airflow.utils.log.file_task_handler import _is_logs_stream_like
from airflow.utils.state import TaskInstanceState
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from edge_provider import log_reader
from edge_provider.log_reader import EdgeTaskLog
from edge_store.database.statement import rows, run
from edge_store.jobs import logs
from edge_testing.database.records import LOG_LIMIT

RUNNING = SimpleNamespace(state=TaskInstanceState.RUNNING)
ENDED = SimpleNamespace(state=TaskInstanceState.SUCCESS)


def write(session: Session, path: str, *chunks: bytes, job: UUID | None = None, worker: str = "w1") -> UUID:
    lease = uuid4()
    run(session, logs.open_log(lease, job or uuid4(), worker, path))
    start = 0
    for chunk in chunks:
        rows(session, logs.append([logs.LogChunk(lease, worker, start, 0, chunk)], LOG_LIMIT))
        start += len(chunk)
    session.commit()
    return lease


def lines(path: str, ti: SimpleNamespace) -> list[str]:
    sources, streams = EdgeTaskLog().stream(path, ti)
    assert sources
    assert all(_is_logs_stream_like(stream) for stream in streams)  # Airflow's own check of streams
    return [line for stream in streams for line in stream]


def test_unknown_path_is_left_to_others(db: Engine) -> None:
    assert EdgeTaskLog().stream("no/such.log", RUNNING) == ([], [])
    assert EdgeTaskLog().read("no/such.log", RUNNING) == ([], None)


def test_half_a_line_is_shown_only_when_the_task_has_ended(session: Session) -> None:
    write(session, "a.log", b"one\nt", b"wo\nthr")
    assert lines("a.log", RUNNING) == ["one", "two"]
    assert lines("a.log", ENDED) == ["one", "two", "thr"]


def test_log_that_is_empty_so_far_is_still_ours(session: Session) -> None:
    write(session, "a.log")
    assert lines("a.log", RUNNING) == []


def test_leases_of_one_path_follow_each_other(session: Session) -> None:
    write(session, "a.log", b"before deferral, cut o", worker="w1")
    write(session, "a.log", b"after\n", worker="w2")
    write(session, "b.log", b"another task\n")
    sources, _ = EdgeTaskLog().stream("a.log", RUNNING)
    assert sources == ["edge://w1/a.log (22 bytes)", "edge://w2/a.log (6 bytes)"]
    assert lines("a.log", RUNNING) == ["before deferral, cut o", "after"]


def test_long_log_is_read_page_by_page(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "PAGE", 3)
    write(session, "a.log", *(f"line {number}\nli".encode() + b"ne\n" for number in range(10)))
    assert [line for line in lines("a.log", RUNNING) if line != "line"] == [f"line {number}" for number in range(10)]


def test_read_is_the_same_as_one_text(session: Session) -> None:
    write(session, "a.log", b"one\ntwo\n")
    assert EdgeTaskLog().read("a.log", ENDED)[1] == ["one\ntwo"]


def test_log_of_a_trigger_is_stored_between_the_leases_of_its_task(session: Session, tmp_path: Path) -> None:
    job = uuid4()
    path = f"{tmp_path.name}/a.log"
    write(session, path, b"deferred\n", job=job)
    base = Path(conf.get_mandatory_value("logging", "base_log_folder"))
    relative = f"{path}.trigger.7.log"
    (base / relative).parent.mkdir(parents=True)
    (base / relative).write_bytes(b"triggered\n" * 30_000)
    EdgeTaskLog().upload(relative, SimpleNamespace(id=job))
    write(session, path, b"resumed\n", job=job)
    assert lines(path, ENDED) == ["deferred", *["triggered"] * 30_000, "resumed"]


def test_tries_of_one_job_have_logs_of_their_own(session: Session) -> None:
    """Airflow keeps the task instance's ID, if a task fails before its process has said that it runs."""
    job = uuid4()
    write(session, "a/attempt=1.log", b"first\n", job=job)
    write(session, "a/attempt=2.log", b"second\n", job=job)
    write(session, "a/attempt=2.log.trigger.7.log", b"triggered\n", job=job)
    assert lines("a/attempt=1.log", ENDED) == ["first"]
    assert lines("a/attempt=2.log", ENDED) == ["second", "triggered"]


@pytest.mark.parametrize(("path", "job"), [("a.log", uuid4()), ("a.log.trigger.7.log", None)])
def test_other_logs_are_not_uploaded(session: Session, path: str, job: UUID | None) -> None:
    EdgeTaskLog().upload(path, SimpleNamespace(id=job) if job else None)
    assert session.execute(text("SELECT count(*) FROM edge.lease")).scalar_one() == 0


def test_job_without_the_reader_configured(session: Session) -> None:
    job = uuid4()
    assert log_reader.read_job(job) == (["The task waits for an edge worker"], [])
    write(session, "a.log", b"one\ntw", job=job)
    assert log_reader.read_job(job) == (["edge://w1/a.log (6 bytes)"], ["one"])
    assert not log_reader.is_active()
