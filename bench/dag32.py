"""(a) A DAG of 32 trivial tasks with 8 slots, on each contender, in turns."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.report import Figures, median, percentile
from edge_demo.platform import Platform, PlatformSpec, WorkerSpec
from edge_demo.processes import wait_until
from edge_testing.airflow.edge3 import edge3_python

SLOTS = 8
RUNS = 2
"""Runs of the DAG that count, on each fresh platform."""
DAGS = Path(__file__).parent / "dags"
RUN_TIMEOUT_S = 300
EDGE3_WORKER = "edge3-worker"


@dataclass(frozen=True)
class DagTimes:
    """One run of the DAG, in seconds."""

    wall: float
    queued_to_start: Sequence[float]
    task: Sequence[float]


@contextmanager
def this_platform(folder: Path) -> Iterator[Platform]:
    """Run this project with one worker of 8 slots."""
    spec = PlatformSpec(DAGS, workers=(WorkerSpec("worker-1", concurrency=SLOTS),))
    with Platform(folder, spec) as platform:
        yield platform


@contextmanager
def local_platform(folder: Path) -> Iterator[Platform]:
    """Run Airflow with LocalExecutor and 8 processes."""
    spec = PlatformSpec(
        DAGS, workers=(), edge_apis=0, executor="LocalExecutor", airflow_env={"AIRFLOW__CORE__PARALLELISM": str(SLOTS)}
    )
    with Platform(folder, spec) as platform:
        yield platform


class Edge3Platform(Platform):
    """Airflow with the edge3 provider and one edge3 worker with 8 slots."""

    def __init__(self, folder: Path) -> None:
        spec = PlatformSpec(
            DAGS,
            workers=(),
            edge_apis=0,
            programs=edge3_python().parent,
            executor="airflow.providers.edge3.executors.EdgeExecutor",
            airflow_env={"AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS": "", "AIRFLOW__EDGE__API_ENABLED": "True"},
        )
        super().__init__(folder, spec)

    @property
    def api_url(self) -> str:
        """URL of the edge3 worker API, which is part of Airflow's api-server."""
        return f"{self.airflow_url}/edge_worker/v1/"

    @property
    def jwt_secret(self) -> str:
        """The secret that all edge3 workers share."""
        return self._airflow_env["AIRFLOW__API_AUTH__JWT_SECRET"]

    def start_worker(self) -> None:
        """Start its worker and wait until it is idle."""
        env = {
            **self._airflow_env,
            "AIRFLOW__EDGE__API_URL": self.api_url,
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.folder / "worker-logs"),
        }
        command = ["airflow", "edge", "worker", "--concurrency", str(SLOTS), "--edge-hostname", EDGE3_WORKER]
        worker = self._add(EDGE3_WORKER, command, env)
        worker.start()
        query = "SELECT 1 FROM edge_worker WHERE state = 'idle'"
        wait_until(lambda: bool(self.rows(query)), "the edge3 worker is idle", 60, [worker])


@contextmanager
def edge3_platform(folder: Path) -> Iterator[Edge3Platform]:
    """Run edge3."""
    with Edge3Platform(folder) as platform:
        platform.start_worker()
        yield platform


def run_dag(platform: Platform) -> DagTimes:
    """Run the DAG once and read from Airflow's own tables how long everything took."""
    platform.wait_dags(["dag32"])
    platform.airflow.unpause("dag32")
    run_id = platform.airflow.trigger("dag32")
    state = platform.airflow.wait_for_run("dag32", run_id, RUN_TIMEOUT_S)
    if state != "success":
        raise RuntimeError(f"the benchmark's DAG ended {state} on {platform.spec.executor}")
    rows = platform.rows(
        "SELECT extract(epoch FROM start_date - queued_dttm) AS queued,"
        " extract(epoch FROM end_date - start_date) AS ran"
        " FROM task_instance WHERE run_id = :run_id AND start_date IS NOT NULL",
        run_id=run_id,
    )
    (wall,) = platform.rows(
        "SELECT extract(epoch FROM end_date - queued_at) AS wall FROM dag_run WHERE run_id = :run_id", run_id=run_id
    )
    return DagTimes(float(wall.wall), [float(row.queued) for row in rows], [float(row.ran) for row in rows])


def summarise(runs: Sequence[DagTimes], figures: Figures) -> None:
    """Record the runs of one contender: the median run, and the tasks of all runs."""
    waits = [wait for run in runs for wait in run.queued_to_start]
    figures.dag32_wall_s = median(run.wall for run in runs)
    figures.queued_to_start_p50_s = median(waits)
    figures.queued_to_start_p99_s = percentile(waits, 0.99)
    figures.task_p50_s = median(task for run in runs for task in run.task)


def process_rss_mb(pid: int) -> float:
    """Return the resident memory of one process."""
    return float(psutil.Process(pid).memory_info().rss) / (1 << 20)


def tree_rss_mb(pid: int) -> float:
    """Return the resident memory of a process and everything that it started."""
    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / (1 << 20)


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process tree has used so far."""
    process = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


def settle(seconds: float) -> None:
    """Let a platform become idle before the next measurement."""
    os.sync()
    time.sleep(seconds)
