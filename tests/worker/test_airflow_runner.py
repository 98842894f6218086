"""The real runner with the real Task SDK, against an Execution API that does not answer."""

import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time import supervisor, task_runner
from airflow.sdk.execution_time.comms import SucceedTask

from edge_protocol.frames import Report
from edge_testing.workers.workload import LOG_PATH, workload
from edge_worker.runner import warm


@pytest.fixture
def airflow_environ(tmp_path: Path) -> dict[str, str]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    return {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "1",
        "EDGE_WORKER_EXECUTION_API_URL": f"http://127.0.0.1:{port}/execution/",
    }


def test_end_of_a_task_is_seen_at_once_when_its_sockets_close_first(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def serve(_self: Any, max_wait_time: float) -> None:
        waits.append(max_wait_time)

    monkeypatch.setattr(supervisor.WatchedSubprocess, "_service_subprocess", serve)
    warm.notice_exits_at_once()
    patched = supervisor.WatchedSubprocess._service_subprocess
    patched(SimpleNamespace(_open_sockets={"stdout": 1}), max_wait_time=5.0)
    patched(SimpleNamespace(_open_sockets={}), max_wait_time=5.0)
    assert waits == [5.0, 0.01]


def test_callbacks_after_a_long_held_final_state_get_their_whole_overtime(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(supervisor, "time", clock)
    monkeypatch.setattr(warm, "time", clock)
    process = supervisor.ActivitySubprocess
    # Restored afterwards, since the adaptations replace them.
    for owner, name in (
        (process, "_send_terminal_state_msg"),
        (supervisor.WatchedSubprocess, "_service_subprocess"),
        (task_runner, "parse"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    warm.adapt_airflow()

    def hold(**_fields: Any) -> None:
        now[0] += 3600

    kills: list[float] = []
    task = SimpleNamespace(
        id="ti",
        client=SimpleNamespace(task_instances=SimpleNamespace(succeed=hold)),
        kill=lambda *_args, **_options: kills.append(now[0]),
        _rendered_map_index=None,
        _task_end_time_monotonic=now[0],
    )
    process._send_terminal_state_msg(task, SucceedTask(end_date=datetime.now(UTC)))
    process._handle_process_overtime_if_needed(task)
    assert kills == []
    now[0] += supervisor.TASK_OVERTIME_THRESHOLD + 1
    process._handle_process_overtime_if_needed(task)
    assert kills == [now[0]]
    # A task that defers has no overtime.
    task._task_end_time_monotonic = None
    process._send_terminal_state_msg(task, SucceedTask(end_date=datetime.now(UTC)))
    assert task._task_end_time_monotonic is None


@pytest.mark.parametrize("options", [(), ("--no-fork",)], ids=["fork", "fresh interpreter"])
async def test_task_that_cannot_reach_the_execution_api(
    api: Any, start_agent: Any, airflow_environ: dict[str, str], options: tuple[str, ...]
) -> None:
    agent = await start_agent(*options, airflow=True, environ=airflow_environ)
    task = workload()
    lease = api.offer(task, log_path=LOG_PATH)
    report = await api.wait_for(Report, lease)
    assert report.outcome == "failed"
    assert report.error == "the task could not be run: ConnectError: [Errno 111] Connection refused"
    lines = [json.loads(line) for line in (await api.wait_log(lease, b"Connection refused")).splitlines()]
    assert lines[-1]["level"] == "error"
    assert "Connection refused" in lines[-1]["event"]
    assert json.loads(task)["token"] not in agent.output()


async def test_workload_that_airflow_does_not_know(api: Any, start_agent: Any, airflow_environ: dict[str, str]) -> None:
    await start_agent(airflow=True, environ=airflow_environ)
    lease = api.offer('{"type": "ExecuteTask", "token": "the-token"}', log_path=LOG_PATH)
    report = await api.wait_for(Report, lease)
    assert report.outcome == "failed"
    assert "UnknownWorkloadError" in report.error
    assert "the-token" not in report.error
