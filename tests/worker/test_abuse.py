"""What a task does to its own process ends that task at most: the real runner, and an agent that goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edge_testing.workers
from edge_protocol.frames import Cancel, Report
from edge_testing.hosts.execution_api import ExecutionApi
from edge_testing.workers.workload import LOG_PATH, workload

DAGS = Path(edge_testing.workers.__file__).with_name("dags")

ENDED_BADLY = {
    "read_null": "the task's process was ended by SIGSEGV",
    "abort": "the task's process was ended by SIGABRT",
    "divide_by_zero": "the task's process was ended by SIGFPE",
    "leave": "the task's process ended with exit code 3",
    "ignore_sigterm": "cancelled: by the test",
}
"""The error in the report."""
ENDED_IN_AIRFLOW = {
    "close_descriptors": b"",
    "unprintable": b"UnprintableError",
    "sleep_in_c": b"AirflowTaskTimeout",
    "leave_processes": b"left ",
    "terminate_child": b"the child was ended by 15",
    "pools": b"spawn 10",
    "long_line": b"x" * 3_000_000,
    "binary": b"after the bytes",
    "many_lines": b'"line 19999"',
    "large_xcom": b"",
}
"""What the log has. The task's process ended by itself, and Airflow was told how."""


@pytest.fixture
def execution_api() -> Iterator[ExecutionApi]:
    with ExecutionApi() as started:
        yield started


@pytest.fixture
def environ(tmp_path: Path, execution_api: ExecutionApi) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        # A process that a task left holds the task's output open; Airflow's supervisor waits so long for its end.
        "AIRFLOW__WORKERS__SOCKET_CLEANUP_TIMEOUT": "1",
        "EDGE_WORKER_EXECUTION_API_URL": f"http://127.0.0.1:{execution_api.port}/execution/",
        "EDGE_WORKER_KILL_GRACE_S": "0.5",
    }


async def test_abuse(api: Any, start_agent: Any, environ: dict[str, str], execution_api: ExecutionApi) -> None:
    api.welcome |= {"log_chunk_bytes": 1 << 18, "log_window_bytes": 1 << 22}
    leases = {task: api.offer(workload(task), log_path=LOG_PATH) for task in ENDED_BADLY | ENDED_IN_AIRFLOW}
    agent = await start_agent("--concurrency", str(len(leases)), airflow=True, environ=environ)
    await api.wait_log(leases["ignore_sigterm"], b"ignoring")
    api.send(Cancel(lease_id=leases["ignore_sigterm"], reason="by the test"))

    errors = {task: (await api.wait_for(Report, leases[task])).error for task in leases}
    assert errors == ENDED_BADLY | dict.fromkeys(ENDED_IN_AIRFLOW)
    for task, text in ENDED_IN_AIRFLOW.items():
        await api.wait_log(leases[task], text)
    assert [len(xcom) for xcom in execution_api.xcoms if len(xcom) > 100] == [5_000_002]
    assert agent.running
