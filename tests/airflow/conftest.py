"""One real platform for all tests of this folder: Airflow's own processes, the edge API, workers."""

import os
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

DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tests and tasks share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def platform(shared: Path) -> Iterator[Platform]:
    folder = {"TEST_FOLDER": str(shared)}
    spec = PlatformSpec(
        dags=DAGS,
        executor=f"LocalExecutor,{EDGE_EXECUTOR}",
        workers=[WorkerSpec("beta", ("beta", "slots"), 4, env=folder)],
        airflow_env={**folder, **QUICK_ADOPTION},
    )
    # Not below pytest's own folder: another pytest of the same user closes that to the user that runs PostgreSQL.
    with TemporaryDirectory(prefix="airflow-edge-tests-") as home, Platform(Path(home), spec) as started:
        started.airflow.request("POST", "variables", json={"key": "greeting", "value": "hello"})
        connection = {"connection_id": "factory_db", "conn_type": "generic", "host": "db.factory", "login": "ann"}
        started.airflow.request("POST", "connections", json=connection)
        # Most tests run at a site from which only the edge API can be reached, neither Airflow nor a database.
        with Gate(URL(started.edge_api_urls[0]).port or 0) as gate:
            started.add_worker(WorkerSpec("alpha", ("default",), 8, env=folder, prefix=gate.prefix))
            yield started
            started.processes["alpha"].end()


@pytest.fixture
def hold(platform: Platform, shared: Path) -> Callable[..., HeldRun]:
    """Start a run of a `hold` DAG, and return its handle."""

    def start(dag_id: str = "hold", run_id: str = "") -> HeldRun:
        return HeldRun(platform, shared, dag_id, run_id or f"{dag_id}-{uuid4().hex[:8]}")

    return start


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Return a check whether a process has ended; a zombie has."""

    def check(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True
        except ProcessLookupError:
            return True

    assert not check(os.getpid())
    return check
