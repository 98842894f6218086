"""Airflow's features on edge workers. All runs start at once; each test checks one of them."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from edge_demo.platform import Platform
from edge_demo.processes import wait_until

DAG_IDS = (
    "operators", "mapping", "secrets", "setup_teardown", "retries", "fails", "deferrable", "reschedule", "slots",
    "queues", "two_executors", "deadline", "assets",
)  # fmt: skip


class Finished:
    """Runs that have ended."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        platform.wait_dags(DAG_IDS)
        for dag_id in DAG_IDS:
            platform.airflow.unpause(dag_id)
        self.run_ids = {dag_id: platform.airflow.trigger(dag_id) for dag_id in DAG_IDS}
        self.states = {
            # A component of Airflow may still end because earlier tests crashed its database.
            dag_id: platform.airflow.wait_for_run(dag_id, run_id, 120, platform.restart_ended)
            for dag_id, run_id in self.run_ids.items()
        }
        self._tasks = platform.airflow.task_instances()

    def task(self, dag_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return a task instance."""
        found = [
            one
            for one in self._tasks
            if (one["dag_id"], one["dag_run_id"], one["task_id"], one["map_index"])
            == (dag_id, self.run_ids[dag_id], task_id, map_index)
        ]
        assert len(found) == 1, (dag_id, task_id, map_index)
        return found[0]

    def state(self, dag_id: str, task_id: str) -> str:
        return str(self.task(dag_id, task_id)["state"])

    def xcom(self, dag_id: str, task_id: str, map_index: int = -1) -> Any:
        return self.platform.airflow.xcom(dag_id, self.run_ids[dag_id], task_id, map_index)

    def log(self, dag_id: str, task_id: str, try_number: int = 1) -> list[str]:
        return self.platform.airflow.log_events(dag_id, self.run_ids[dag_id], task_id, try_number)

    def jobs(self, dag_id: str, task_id: str) -> Sequence[Any]:
        return self.platform.rows(
            "SELECT * FROM edge.job WHERE dag_id = :dag AND run_id = :run AND task_id = :task ORDER BY try_number",
            dag=dag_id, run=self.run_ids[dag_id], task=task_id,
        )  # fmt: skip

    def job(self, dag_id: str, task_id: str) -> Any:
        jobs = self.jobs(dag_id, task_id)
        assert len(jobs) == 1
        return jobs[0]

    def leases(self, dag_id: str, task_id: str) -> int:
        query = "SELECT 1 FROM edge.lease WHERE job_id = :job AND worker_name <> 'triggerer'"
        return len(self.platform.rows(query, job=self.job(dag_id, task_id).id))


@pytest.fixture(scope="module")
def finished(platform: Platform) -> Finished:
    return Finished(platform)


def test_bash_operator(finished: Finished) -> None:
    assert finished.xcom("operators", "bash") == "said by bash"
    assert any("said by bash" in line for line in finished.log("operators", "bash"))
    job = finished.job("operators", "bash")
    assert (job.state, job.worker_name, job.exit_code) == ("succeeded", "alpha", 0)
    assert job.workload is None


def test_python_operator_and_taskflow_exchange_xcoms(finished: Finished) -> None:
    assert finished.xcom("operators", "taskflow") == {"nested": [1, 2, {"three": 3}]}
    assert "read said by python" in finished.log("operators", "taskflow")


def test_branch(finished: Finished) -> None:
    assert finished.state("operators", "left") == "success"
    assert finished.state("operators", "right") == "skipped"
    assert finished.jobs("operators", "right") == []


def test_task_bash(finished: Finished) -> None:
    assert finished.xcom("operators", "left") == "left"


def test_virtualenv(finished: Finished) -> None:
    prefix, base = finished.xcom("operators", "virtualenv")
    assert prefix != base
    assert not Path(prefix).exists()  # created for this task, and deleted after it


def test_dynamic_task_mapping(finished: Finished) -> None:
    assert [finished.xcom("mapping", "square", index) for index in range(5)] == [1, 4, 9, 16, 25]
    assert finished.xcom("mapping", "total") == 55
    assert sorted(job.map_index for job in finished.jobs("mapping", "square")) == [0, 1, 2, 3, 4]


def test_variable_and_connection(finished: Finished) -> None:
    assert finished.xcom("secrets", "read") == ["hello", "db.factory", "ann"]


def test_teardown_runs_after_a_failure(finished: Finished) -> None:
    assert finished.state("setup_teardown", "begin") == "success"
    assert finished.state("setup_teardown", "work") == "failed"
    assert finished.state("setup_teardown", "end") == "success"
    assert "torn down what was begun" in finished.log("setup_teardown", "end")
    assert finished.states["setup_teardown"] == "failed"


def test_fails_twice_then_succeeds(finished: Finished) -> None:
    assert finished.task("retries", "third_time")["try_number"] == 3
    assert finished.xcom("retries", "third_time") == 3
    for attempt in (1, 2, 3):
        assert f"attempt {attempt}" in finished.log("retries", "third_time", attempt)
    assert [job.try_number for job in finished.jobs("retries", "third_time")] == [1, 2, 3]


def test_fails_permanently(finished: Finished) -> None:
    assert finished.states["fails"] == "failed"
    assert finished.state("fails", "boom") == "failed"
    assert "Task failed with exception" in finished.log("fails", "boom")
    assert (finished.job("fails", "boom").state, finished.job("fails", "boom").error) == ("succeeded", None)


def test_on_failure_callback(finished: Finished, shared: Path) -> None:
    assert (shared / "failed").read_text() == "boom: permanently\n"


def test_deferrable_task_runs_before_and_after_its_trigger(finished: Finished) -> None:
    assert finished.states["deferrable"] == "success"
    assert finished.leases("deferrable", "wait") == 2


def test_log_of_a_trigger_is_part_of_the_task_log(finished: Finished) -> None:
    writers = finished.platform.rows(
        "SELECT log_bytes FROM edge.lease WHERE job_id = :job AND worker_name = 'triggerer'",
        job=finished.job("deferrable", "wait").id,
    )
    assert len(writers) == 1
    assert writers[0].log_bytes > 0
    log = finished.log("deferrable", "wait")
    inside = log[log.index("before the trigger") + 1 : log.index("after the trigger")]
    assert any(line.startswith("Triggering at moment") or "trigger" in line for line in inside), inside


def test_sensor_in_reschedule_mode(finished: Finished, shared: Path) -> None:
    assert finished.states["reschedule"] == "success"
    assert len((shared / "looks").read_text().splitlines()) == 3
    assert finished.leases("reschedule", "look") == 3


def test_tasks_of_three_slots_take_turns_on_a_worker_of_four(finished: Finished) -> None:
    spans = []
    for name in ("first", "second"):
        task, job = finished.task("slots", name), finished.job("slots", name)
        assert (job.slots, job.worker_name, task["state"]) == (3, "beta", "success")
        spans.append((datetime.fromisoformat(task["start_date"]), datetime.fromisoformat(task["end_date"])))
    spans.sort()
    assert spans[0][1] <= spans[1][0]


def test_two_queues_on_two_workers(finished: Finished) -> None:
    assert finished.job("queues", "on_default").worker_name == "alpha"
    assert finished.job("queues", "on_beta").worker_name == "beta"


def test_two_executors_side_by_side(finished: Finished) -> None:
    assert finished.job("two_executors", "edge").worker_name == "alpha"
    assert finished.jobs("two_executors", "local") == []
    assert finished.xcom("two_executors", "local") == "said"
    assert any("said" in line for line in finished.log("two_executors", "local"))


def test_deadline_callback_runs_on_a_worker(finished: Finished, shared: Path) -> None:
    assert (shared / "deadline").read_text() == "deadline missed\n"
    query = "SELECT state, worker_name, rank FROM edge.job WHERE kind = 'callback'"
    wait_until(lambda: [row.state for row in finished.platform.rows(query)] == ["succeeded"], "callback", 10)
    assert tuple(finished.platform.rows(query)[0]) == ("succeeded", "alpha", 0)
    query = "SELECT state FROM callback"
    wait_until(
        lambda: [row.state for row in finished.platform.rows(query)] == ["success"], "Airflow gets the callback", 10
    )


def test_an_event_of_an_asset_is_made_and_read(finished: Finished) -> None:
    assert finished.xcom("assets", "measure") == 3


def test_a_person_answers_a_task(platform: Platform) -> None:
    """A worker asks and a worker goes on; in between the task takes no slot."""
    airflow = platform.airflow
    airflow.unpause("human")
    run = airflow.trigger("human")

    def state() -> str:
        return next(str(one["state"]) for one in airflow.task_instances("human", run) if one["task_id"] == "ask")

    wait_until(lambda: state() == "awaiting_input", "the task waits for a person", 60)
    path = f"dags/human/dagRuns/{run}/taskInstances/ask/-1/hitlDetails"
    airflow.request("PATCH", path, json={"chosen_options": ["yes"]})
    assert airflow.wait_for_run("human", run, 90) == "success"
    assert airflow.xcom("human", run, "obey") == ["yes"]


def test_workers_hold_no_secret_of_the_platform(platform: Platform) -> None:
    for name in ("alpha", "beta"):
        environment = Path(f"/proc/{platform.processes[name].pid}/environ").read_bytes().decode()
        assert "SQL_ALCHEMY_CONN" not in environment
        assert "JWT_SECRET" not in environment
    assert os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "") != platform.database_url
