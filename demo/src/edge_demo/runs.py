"""Runs of DAGs: which to start, their expected end, and the results of their tasks."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edge_demo.airflow_client import FINISHED_RUN_STATES
from edge_demo.platform import Platform
from edge_demo.processes import ProcessError

EXPECT_TAG = "expect:"
"""Runs of a DAG with the tag `expect:failed` should fail. Without such a tag they should succeed."""

POLL_S = 0.5
SETTLED_S = 2.0
"""The folder counts as parsed when no new DAG has appeared for this long."""
EMPTY_S = 30.0
"""The folder counts as empty when no DAG has appeared for this long."""


class RunError(Exception):
    """DAGs could not be run. The message says which and why."""


@dataclass(frozen=True)
class Run:
    """One run of one DAG."""

    dag_id: str
    run_id: str
    expected: str


@dataclass(frozen=True)
class TaskResult:
    """The result of one task instance; times in seconds."""

    dag_id: str
    task_id: str
    map_index: int
    try_number: int
    state: str
    worker: str
    queued_s: float | None
    """From queued to started; None if it never started."""
    duration_s: float | None
    run_id: str

    @property
    def name(self) -> str:
        """Task id with map index: `press[2]`."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


def choose_dags(platform: Platform, selected: Sequence[str]) -> list[str]:
    """Wait until Airflow has parsed the selected DAGs (by default all of the folder), and return their ids.

    Raises:
        RunError: a DAG file has import errors, the folder is empty, or a selected DAG is not in it.

    """
    found: set[str] = set()
    changed_at = time.monotonic()
    while True:
        before, found = found, platform.airflow.dag_ids()
        if errors := platform.airflow.import_errors():
            raise RunError("A DAG file can't be read:\n" + "\n".join(errors))
        if selected and set(selected) <= found:
            return list(selected)
        # Files are parsed one after another: the folder is complete when no DAG has appeared for a while.
        if found != before:
            changed_at = time.monotonic()
        elif found and time.monotonic() - changed_at >= SETTLED_S:
            break
        elif time.monotonic() - changed_at >= EMPTY_S:
            raise RunError(f"{platform.spec.dags} has no DAGs.")
        time.sleep(POLL_S)
    if missing := sorted(set(selected) - found):
        raise RunError(f"{platform.spec.dags} does not have {', '.join(missing)}. It has {', '.join(sorted(found))}.")
    return sorted(found)


def start(platform: Platform, dag_ids: Sequence[str]) -> list[Run]:
    """Unpause the DAGs and start one run of each."""
    runs = []
    for dag_id in dag_ids:
        tags = platform.airflow.dag_tags(dag_id)
        expected = next((tag.removeprefix(EXPECT_TAG) for tag in tags if tag.startswith(EXPECT_TAG)), "success")
        platform.airflow.unpause(dag_id)
        runs.append(Run(dag_id, platform.airflow.trigger(dag_id), expected))
    return runs


def watch(
    platform: Platform, runs: Sequence[Run], progress: Callable[[Counter[str]], None], timeout_s: float
) -> dict[Run, str]:
    """Wait until all runs have ended and return their states; `progress` gets the number of tasks in each state.

    Raises:
        RunError: they have not ended after `timeout_s`, or a part of the platform has ended.

    """
    deadline = time.monotonic() + timeout_s
    while True:
        states = {run: platform.airflow.run_state(run.dag_id, run.run_id) for run in runs}
        tasks = [one for run in runs for one in platform.airflow.task_instances(run.dag_id, run.run_id)]
        progress(Counter(str(one["state"] or "none") for one in tasks))
        if all(state in FINISHED_RUN_STATES for state in states.values()):
            return states
        try:
            for process in platform.ended():
                process.check()
        except ProcessError as error:
            raise RunError(str(error)) from error
        if time.monotonic() > deadline:
            late = ", ".join(run.dag_id for run, state in states.items() if state not in FINISHED_RUN_STATES)
            raise RunError(f"Not ended after {timeout_s:g} s: {late}. Give them more time with --timeout SECONDS.")
        time.sleep(POLL_S)


def results(platform: Platform, runs: Sequence[Run]) -> list[TaskResult]:
    """Return the results of the runs' tasks, in the order in which they started."""
    jobs = {
        str(row.id): row
        for row in platform.rows(
            "SELECT id, worker_name, extract(epoch FROM started_at - queued_at) AS waited_s FROM edge.job"
        )
    }
    tasks = [one for run in runs for one in platform.airflow.task_instances(run.dag_id, run.run_id)]
    # Tasks that never started come last within their DAG.
    tasks.sort(key=lambda one: (one["dag_id"], one["start_date"] is None, one["start_date"] or "", one["map_index"]))
    return [_result(one, jobs.get(one["id"])) for one in tasks]


def _result(task: dict[str, Any], job: Any) -> TaskResult:
    return TaskResult(
        dag_id=task["dag_id"],
        task_id=task["task_id"],
        map_index=task["map_index"],
        try_number=task["try_number"],
        state=str(task["state"]),
        worker=(job.worker_name if job else None) or task["hostname"] or "",
        queued_s=_queued(task, job),
        duration_s=task["duration"],
        run_id=task["dag_run_id"],
    )


def _queued(task: dict[str, Any], job: Any) -> float | None:
    if not task["start_date"] or not task["queued_when"]:
        return None
    seconds = (datetime.fromisoformat(task["start_date"]) - datetime.fromisoformat(task["queued_when"])).total_seconds()
    if seconds >= 0:
        return seconds
    # It was deferred and queued again after its start: only the job has the waiting time.
    return float(job.waited_s) if job and job.waited_s is not None else None
