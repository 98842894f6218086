"""The executor against real PostgreSQL. The store's statements stand in for workers."""

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import airflow.settings
import pytest
from airflow.executors.workloads import ExecuteCallback, ExecuteTask
from airflow.executors.workloads.base import BundleInfo
from airflow.executors.workloads.callback import CallbackDTO, CallbackFetchMethod
from airflow.executors.workloads.connection_test import TestConnection as ConnectionTest
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.utils.state import CallbackState, TaskInstanceState
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from edge_provider import executor as executor_module
from edge_provider.executor import EdgeExecutor
from edge_store.database import engine
from edge_store.database.statement import rows
from edge_store.jobs import claims, leases
from edge_store.workers import agents

TEN_SECONDS = timedelta(seconds=10)


@pytest.fixture
def executor(db: Engine) -> EdgeExecutor:
    return started(1)


def started(job_id: int, team: str | None = None) -> EdgeExecutor:
    made = EdgeExecutor(parallelism=10, team_name=team)
    made.job_id = job_id
    made.start()
    return made


def make_task(task_id: str = "t", **changes: Any) -> ExecuteTask:
    fields: dict[str, Any] = {"try_number": 1, "map_index": -1, "pool_slots": 1, "queue": "default", **changes}
    ti = TaskInstanceDTO(
        id=uuid4(), dag_version_id=uuid4(), task_id=task_id, dag_id="d", run_id="r", priority_weight=1, **fields
    )
    return ExecuteTask(
        token="secret", dag_rel_path=Path("d.py"), bundle_info=BundleInfo(name="dags"), log_path=f"{task_id}.log", ti=ti
    )


def make_callback() -> ExecuteCallback:
    callback = CallbackDTO(id=str(uuid4()), fetch_method=CallbackFetchMethod.IMPORT_PATH, data={"path": "a.b"})
    bundle = BundleInfo(name="dags")
    return ExecuteCallback(
        token="secret", dag_rel_path=Path("d.py"), bundle_info=bundle, log_path="c.log", callback=callback
    )


def queue(executor: EdgeExecutor, session: Session, *workloads: Any) -> None:
    for workload in workloads:
        executor.queue_workload(workload, session)
    session.commit()


@pytest.fixture
def worker(db: Engine) -> Iterator["Worker"]:
    with db.connect() as connection:
        yield Worker(connection)


class Worker:
    """Takes, accepts and reports jobs as an edge API does for a worker."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        registration = agents.Registration(
            name="w1", identity=uuid4(), team=None, queues=["default"], concurrency=8, session_id=uuid4(),
            instance=uuid4(), cordon_reason=None, versions={},
        )  # fmt: skip
        rows(connection, agents.register(registration, TEN_SECONDS))
        connection.commit()
        self._registration = registration

    def accept(self, job_id: Any) -> UUID:
        pick = claims.Pick(UUID(str(job_id)), "w1", self._registration.session_id, uuid4())
        assert len(rows(self._connection, claims.claim([pick], TEN_SECONDS))) == 1
        assert len(rows(self._connection, leases.accept([leases.HeldLease(pick.lease_id, "w1")]))) == 1
        self._connection.commit()
        return pick.lease_id

    def finish(self, job_id: Any, outcome: Any = "succeeded", error: str | None = None) -> None:
        report = leases.JobReport(self.accept(job_id), "w1", outcome, 0 if outcome == "succeeded" else 1, error)
        assert len(rows(self._connection, leases.report([report]))) == 1
        self._connection.commit()

    def lose(self, job_id: Any, reason: str) -> None:
        assert (
            len(
                rows(
                    self._connection,
                    leases.lose([leases.Loss(self.accept(job_id), self._registration.session_id, reason)]),
                )
            )
            == 1
        )
        self._connection.commit()


def states(session: Session) -> dict[str, str]:
    rows = session.execute(text("SELECT coalesce(task_id, kind) AS name, state FROM edge.job")).all()
    session.rollback()
    return {row.name: row.state for row in rows}


def test_job_exists_only_if_the_scheduler_commits(executor: EdgeExecutor, session: Session) -> None:
    kept, dropped = make_task("kept"), make_task("dropped")
    executor.queue_workload(dropped, session)
    assert executor.running == {dropped.key}
    session.rollback()
    assert executor.running == set()
    queue(executor, session, kept)
    assert executor.running == {kept.key}
    assert executor.slots_available == 9
    assert states(session) == {"kept": "queued"}


def test_rollback_of_a_second_enqueue_keeps_what_runs(executor: EdgeExecutor, session: Session) -> None:
    task = make_task()
    queue(executor, session, task)
    executor.queue_workload(task, session)
    session.rollback()
    assert executor.running == {task.key}


def test_sync_reports_how_tasks_end(executor: EdgeExecutor, session: Session, worker: Worker) -> None:
    good, bad, silent, lost, runs = (make_task(name) for name in ("good", "bad", "silent", "lost", "runs"))
    queue(executor, session, good, bad, silent, lost, runs)
    worker.finish(good.ti.id)
    worker.finish(bad.ti.id, "failed", "the interpreter crashed")
    worker.finish(silent.ti.id, "failed")
    worker.lose(lost.ti.id, "edge worker w1 lost at noon")
    worker.accept(runs.ti.id)
    executor.sync()
    assert executor.get_event_buffer() == {
        good.key: (TaskInstanceState.SUCCESS, None),
        bad.key: (TaskInstanceState.FAILED, "the interpreter crashed"),
        silent.key: (TaskInstanceState.FAILED, "edge worker w1 reported exit code 1"),
        lost.key: (TaskInstanceState.FAILED, "edge worker w1 lost at noon"),
    }
    assert executor.running == {runs.key}
    executor.sync()
    assert executor.get_event_buffer() == {}


def test_callbacks_go_to_the_default_queue_or_to_the_one_of_the_settings(
    executor: EdgeExecutor, session: Session, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def queue_of(made: EdgeExecutor) -> str:
        callback = make_callback()
        queue(made, session, callback)
        query = text("SELECT queue FROM edge.job WHERE id = :id")
        return str(session.execute(query, {"id": callback.callback.id}).scalar_one())

    assert queue_of(executor) == "default"
    monkeypatch.setenv("AIRFLOW__EDGE__CALLBACK_QUEUE", "callbacks")
    monkeypatch.setenv("AIRFLOW__RED___EDGE__CALLBACK_QUEUE", "red-callbacks")
    assert queue_of(executor) == "callbacks"
    assert queue_of(started(2, team="red")) == "red-callbacks"
    # Tasks have a queue of their own.
    task = make_task()
    queue(executor, session, task)
    assert worker.accept(task.ti.id)


def test_a_callback_queue_that_no_job_can_have_stops_the_start(
    executor: EdgeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__EDGE__CALLBACK_QUEUE", "x" * 300)
    with pytest.raises(SystemExit, match=r"\[edge\] callback_queue .* at most 256"):
        executor.start()


def test_callback_is_reported_as_running_and_ended(executor: EdgeExecutor, session: Session, worker: Worker) -> None:
    callback, other = make_callback(), make_callback()
    queue(executor, session, callback, other)
    worker.accept(callback.callback.id)
    worker.finish(other.callback.id, "failed", "no such function")
    executor.sync()
    assert executor.get_event_buffer() == {
        callback.key: (CallbackState.RUNNING, "w1"),
        other.key: (CallbackState.FAILED, "no such function"),
    }
    assert executor.running == {callback.key}


def test_sync_takes_all_events_in_batches(
    executor: EdgeExecutor, session: Session, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "EVENT_BATCH", 2)
    tasks = [make_task(f"t{number}") for number in range(5)]
    queue(executor, session, *tasks)
    for task in tasks:
        worker.finish(task.ti.id)
    executor.sync()
    assert executor.get_event_buffer().keys() == {task.key for task in tasks}


def test_executors_take_only_the_events_of_their_own_jobs(db: Engine, session: Session, worker: Worker) -> None:
    one, other, red = started(1), started(2), started(1, team="red")
    assert {one.owner, other.owner, red.owner} == {"1", "2", "1:red"}
    task = make_task()
    queue(one, session, task)
    queue(red, session, make_task("of_red"))
    assert session.execute(text("SELECT owner, team FROM edge.job WHERE task_id = 'of_red'")).one() == ("1:red", "red")
    session.rollback()
    worker.finish(task.ti.id)
    for stranger in (other, red):
        stranger.sync()
        assert stranger.get_event_buffer() == {}
    one.sync()
    assert one.get_event_buffer().keys() == {task.key}


def test_successor_adopts_what_runs_and_what_has_ended(
    executor: EdgeExecutor, session: Session, worker: Worker
) -> None:
    runs, reported, unreported, unknown = (make_task(name) for name in ("runs", "reported", "unreported", "unknown"))
    queue(executor, session, runs, reported, unreported)
    worker.accept(runs.ti.id)
    worker.finish(reported.ti.id, "failed", "reported, but the scheduler died with it")
    executor.sync()
    worker.finish(unreported.ti.id)
    successor = started(2)
    rest = successor.try_adopt_task_instances([work.ti for work in (runs, reported, unreported, unknown)])
    assert rest == [unknown.ti]
    assert successor.running == {runs.key, reported.key, unreported.key}
    successor.sync()
    assert {key.task_id: state for key, (state, _) in successor.get_event_buffer().items()} == {
        "reported": TaskInstanceState.FAILED,
        "unreported": TaskInstanceState.SUCCESS,
    }
    assert successor.running == {runs.key}


def test_revoked_task_is_removed_and_nothing_is_reported(
    executor: EdgeExecutor, session: Session, worker: Worker
) -> None:
    waits, ended = make_task("waits"), make_task("ended")
    queue(executor, session, waits, ended)
    worker.finish(ended.ti.id)
    for task in (waits, ended):
        executor.revoke_task(ti=task.ti)
    executor.sync()
    assert executor.get_event_buffer() == {}
    assert executor.running == set()
    assert states(session) == {"waits": "removed", "ended": "succeeded"}


def test_resumed_task_starts_over_and_its_first_end_is_not_reported(
    executor: EdgeExecutor, session: Session, worker: Worker
) -> None:
    task = make_task()
    queue(executor, session, task)
    worker.finish(task.ti.id)  # it was deferred
    queue(executor, session, task)  # and resumed before the executor looked
    executor.sync()
    assert executor.get_event_buffer() == {}
    assert executor.has_task(SimpleNamespace(id=task.ti.id, key=task.key))
    worker.finish(task.ti.id)
    executor.sync()
    assert executor.get_event_buffer() == {task.key: (TaskInstanceState.SUCCESS, None)}


def test_vanished_and_adopted_jobs_do_not_take_slots_forever(
    executor: EdgeExecutor, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, vanishes, goes = (make_task(name) for name in ("stays", "vanishes", "goes"))
    queue(executor, session, stays, vanishes, goes)
    session.execute(text("DELETE FROM edge.job WHERE task_id = 'vanishes'"))
    session.commit()
    assert started(2).try_adopt_task_instances([goes.ti]) == []
    executor.sync()
    assert len(executor.running) == 3  # not looked at each time
    monkeypatch.setattr(executor_module, "RECONCILE_S", 0.0)
    executor.sync()
    assert executor.running == {stays.key}


def test_unreachable_database_does_not_stop_the_scheduler(
    executor: EdgeExecutor, session: Session, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task()
    queue(executor, session, task)
    worker.finish(task.ti.id)
    with monkeypatch.context() as away:
        nowhere = engine.make_engine("postgresql://nobody@127.0.0.1:1/nothing")
        away.setattr(airflow.settings, "NonScopedSession", sessionmaker(nowhere))
        executor.sync()
        executor.revoke_task(ti=make_task("other").ti)
    assert executor.get_event_buffer() == {}
    executor.sync()
    assert executor.get_event_buffer().keys() == {task.key}


def test_end_and_terminate_leave_jobs_alone(executor: EdgeExecutor, session: Session) -> None:
    queue(executor, session, make_task())
    executor.end()
    executor.terminate()
    assert states(session) == {"t": "queued"}


def test_connection_tests_are_refused_clearly(executor: EdgeExecutor, session: Session) -> None:
    workload = ConnectionTest(token="secret", connection_test_id=uuid4(), connection_id="c", timeout=5)
    with pytest.raises(NotImplementedError, match="does not support TestConnection"):
        executor.queue_workload(workload, session)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DROP SCHEMA edge CASCADE", "schema version none.*airflow db migrate"),
        ("UPDATE edge.schema_version SET version_num = '9999'", "Upgrade this program"),
    ],
)
def test_wrong_schema_is_refused_at_start(db: Engine, change: str, message: str) -> None:
    with db.begin() as connection:
        connection.execute(text(change))
    with pytest.raises(SystemExit, match=f"EdgeExecutor can't start: .*{message}"):
        started(1)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "sqlite, but Airflow Edge needs PostgreSQL"),
        ("postgresql+psycopg://u:hunter2@127.0.0.1:1/x", "reached"),
    ],
)
def test_wrong_database_is_refused_at_start(url: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create_engine(url)
    monkeypatch.setattr(airflow.settings, "NonScopedSession", sessionmaker(made))
    with pytest.raises(SystemExit, match=message) as caught:
        started(1)
    assert "hunter2" not in str(caught.value)
    made.dispose()


def test_workload_holds_the_token_and_nothing_else_shows_it(executor: EdgeExecutor, session: Session) -> None:
    task = make_task()
    queue(executor, session, task)
    row = session.execute(text("SELECT * FROM edge.job")).one()._asdict()
    assert "secret" in row.pop("workload")
    assert "secret" not in str(row)
    assert "secret" not in repr(dataclasses.asdict(claims.Pick(task.ti.id, "w", uuid4(), uuid4())))
