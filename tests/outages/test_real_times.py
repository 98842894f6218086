"""A cut that is longer than Airflow's own patience, with every interval and limit as it is by default."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from edge_demo.platform import EDGE_EXECUTOR, Platform, PlatformSpec
from edge_demo.processes import wait_until

if TYPE_CHECKING:
    from edge_testing.airflow.held_run import HeldRun
    from edge_testing.workers.one_way import Gate

DAGS = Path(__file__).parents[1] / "airflow" / "dags"
TASKS = ["a", "b", "c"]
CUT_S = 400.0
"""Airflow fails a task without heartbeats after 300 s, and looks every 10 s."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def platform(shared: Path) -> Iterator[Platform]:
    spec = PlatformSpec(
        dags=DAGS,
        executor=f"LocalExecutor,{EDGE_EXECUTOR}",
        workers=[],
        edge_apis=2,
        airflow_env={"TEST_FOLDER": str(shared)},
    )
    with TemporaryDirectory(prefix="airflow-edge-tests-") as home, Platform(Path(home), spec) as started:
        yield started


def test_airflow_fails_no_task_of_a_site_without_a_line(
    platform: Platform, hold: "Callable[[str], HeldRun]", add_site: "Callable[..., Gate]"
) -> None:
    """The scheduler is killed and starts again in the middle, and so does each edge API."""
    gate = add_site("alpha", "default")
    run = hold("hold")
    run.wait_for("start", TASKS)
    with gate.cut():
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > CUT_S / 2, "half of the cut is over", CUT_S)
        for name in ("scheduler", "edge-api-0", "edge-api-1"):
            platform.processes[name].kill()
            platform.processes[name].start()
        wait_until(lambda: time.monotonic() - began > CUT_S, "the cut is over", CUT_S)
        states = {ti["state"] for ti in platform.airflow.task_instances(run.dag_id, run.run_id)}
        assert states == {"running"}
    assert run.finish() == "success"
    run.assert_ran_once_with_whole_log(TASKS)
