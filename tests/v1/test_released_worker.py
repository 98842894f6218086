"""The unmodified worker of apache-airflow-providers-edge3 5.1.0 with this edge API and executor."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from edge_demo.environment import worker_env
from edge_demo.platform import Platform, PlatformSpec, WorkerSpec
from edge_demo.processes import wait_until
from edge_protocol.admin import WORKERS_PATH
from edge_testing.airflow.edge3 import edge3_python

DAGS = Path(__file__).parent / "dags"
DAG = "both_wires"
NAME = "released"
SECRET = secrets.token_urlsafe(64)

pytestmark = pytest.mark.slow


class V1Platform(Platform):
    """A platform with an edge3 worker (v1) and one of this project."""

    def start_released_worker(self) -> None:
        home = self._home(NAME)
        settings = {
            "AIRFLOW__EDGE__API_URL": f"{self.edge_api_urls[0]}/edge_worker/v1/",
            "AIRFLOW__EDGE__HEARTBEAT_INTERVAL": "2",
            "AIRFLOW__EDGE__JOB_POLL_INTERVAL": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": SECRET,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        }
        python = edge3_python()
        command = [
            str(python.parent / "airflow"), "edge", "worker", "--concurrency", "4", "--edge-hostname", NAME,
            "--queues", "old",
        ]  # fmt: skip
        # Its environment has the edge3 provider instead of this project's.
        executor = "airflow.providers.edge3.executors.EdgeExecutor"
        env = worker_env(home=home, dags=self.spec.dags, executor=executor, extra=settings)
        process = self._add(NAME, command, env)
        process.start()
        self.wait_worker(NAME)

    def admin(self) -> httpx.Client:
        env = self._edge_api_env(self.edge_api_urls[0])
        credential = self.run("edge-api", "credential", "create", "--role", "admin", env=env).strip()
        return httpx.Client(
            base_url=self.edge_api_urls[0], headers={"Authorization": f"Bearer {credential}"}, trust_env=False
        )


@pytest.fixture(scope="module")
def platform() -> Iterator[V1Platform]:
    spec = PlatformSpec(
        dags=DAGS,
        workers=[WorkerSpec("own", ("new",), 2)],
        airflow_env={"AIRFLOW__API_AUTH__JWT_SECRET": SECRET},
        edge_api_env={"EDGE_API_V1_JWT_SECRET": SECRET, "EDGE_API_V1_HEARTBEAT_INTERVAL_S": "5"},
    )
    with TemporaryDirectory(prefix="airflow-edge-v1-") as home, V1Platform(Path(home), spec) as started:
        started.start_released_worker()
        yield started


@pytest.fixture
def admin(platform: V1Platform) -> Iterator[httpx.Client]:
    with platform.admin() as client:
        yield client


def worker(admin: httpx.Client) -> dict[str, Any]:
    answer = admin.get(f"{WORKERS_PATH}/{NAME}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait_for_state(admin: httpx.Client, wanted: str) -> None:
    wait_until(lambda: worker(admin)["state"] == wanted, f"the released worker is in state {wanted}", 60)


def test_a_whole_dag_next_to_a_v2_worker(platform: V1Platform, admin: httpx.Client) -> None:
    platform.wait_dags([DAG])
    platform.airflow.unpause(DAG)
    run = platform.airflow.trigger(DAG)
    assert platform.airflow.wait_for_run(DAG, run, 180) == "success"
    found = {(each["task_id"], each["map_index"]): each for each in platform.airflow.task_instances(DAG, run)}
    states = {key: each["state"] for key, each in found.items()}
    assert states.pop(("failing", -1)) == "failed"
    assert set(states.values()) == {"success"}
    assert found["flaky", -1]["try_number"] == 2
    assert platform.airflow.xcom(DAG, run, "total") == 12
    holders = {
        row.task_id: row.worker_name
        for row in platform.rows("SELECT task_id, worker_name FROM edge.job WHERE run_id = :run", run=run)
    }
    assert holders.pop("elsewhere") == "own"
    assert set(holders.values()) == {NAME}
    assert "doubling 2" in platform.airflow.log_events(DAG, run, "double", 1, map_index=1)
    assert "about to fail" in platform.airflow.log_events(DAG, run, "failing")
    view = worker(admin)
    assert (view["protocol"], view["queues"], view["cordon"]["reasons"]) == (1, ["old"], [])
    assert (view["versions"]["worker"], view["concurrency"]) == ("5.1.0", 4)


def test_maintenance_and_shutdown_from_this_side_reach_it(platform: V1Platform, admin: httpx.Client) -> None:
    path = f"{WORKERS_PATH}/{NAME}"
    wait_for_state(admin, "idle")
    assert admin.put(f"{path}/maintenance", json={"comment": "the disk"}).is_success
    wait_for_state(admin, "maintenance mode")
    assert admin.delete(f"{path}/maintenance").is_success
    wait_for_state(admin, "idle")
    assert admin.put(f"{path}/shutdown").is_success
    wait_until(lambda: not platform.processes[NAME].running, "the released worker has stopped", 60)
    assert worker(admin)["state"] == "offline"
    assert admin.delete(path).status_code == 204
