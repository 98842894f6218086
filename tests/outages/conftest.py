"""A real platform with a site whose line the tests cut. Its intervals are short; a task's token lives for a minute."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from yarl import URL

from edge_demo.platform import EDGE_EXECUTOR, Platform, PlatformSpec, WorkerSpec
from edge_testing.airflow.held_run import HeldRun
from edge_testing.airflow.quick import QUICK_ADOPTION
from edge_testing.workers.one_way import Gate

DAGS = Path(__file__).parents[1] / "airflow" / "dags"

SHORT = {
    **QUICK_ADOPTION,
    "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME": "60",
    # Airflow fails a task without heartbeats after this time: well within every cut of these tests.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tests and tasks share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def platform(shared: Path) -> Iterator[Platform]:
    spec = PlatformSpec(
        dags=DAGS,
        executor=f"LocalExecutor,{EDGE_EXECUTOR}",
        workers=[],
        airflow_env={"TEST_FOLDER": str(shared), **SHORT},
        edge_api_env={"EDGE_API_HEARTBEAT_INTERVAL_S": "1"},
    )
    with TemporaryDirectory(prefix="airflow-edge-tests-") as home, Platform(Path(home), spec) as started:
        yield started


AddSite = Callable[..., Gate]


@pytest.fixture
def add_site(platform: Platform, shared: Path) -> Iterator[AddSite]:
    """Start a worker behind a gate of its own; it can reach the edge API only, and only while the gate is open."""
    gates: dict[str, Gate] = {}

    def add(name: str, queue: str, **settings: str) -> Gate:
        gate = gates[name] = Gate(URL(platform.edge_api_urls[0]).port or 0)
        gate.__enter__()
        env = {"TEST_FOLDER": str(shared), "EDGE_WORKER_KILL_GRACE_S": "1", **settings}
        platform.add_worker(WorkerSpec(name, (queue,), 8, env=env, prefix=gate.prefix))
        platform.wait_worker(name)
        return gate

    yield add
    for name, gate in gates.items():
        platform.processes.pop(name).stop(timeout_s=5)
        gate.__exit__(None, None, None)


@pytest.fixture
def hold(platform: Platform, shared: Path) -> Callable[[str], HeldRun]:
    """Start a run of a `hold` DAG, and return its handle."""
    return lambda dag_id: HeldRun(platform, shared, dag_id, f"{dag_id}-{uuid4().hex[:8]}")
