"""While tasks run, their logs can be read, they can be killed, and a restarted scheduler adopts them."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

from edge_demo.platform import Platform
from edge_demo.processes import wait_until

if TYPE_CHECKING:
    from edge_testing.airflow.held_run import HeldRun


def test_log_is_readable_while_the_task_runs(platform: Platform, hold: "Callable[..., HeldRun]") -> None:
    run = hold("hold_one")
    run.wait_for("start", ["a"])
    wait_until(lambda: len(run.log_lines("a")) > 0, "first lines", 30)
    # The reader sees new lines while the task continues to print.
    before = len(run.log_lines("a"))
    wait_until(lambda: len(run.log_lines("a")) > before + 20, "20 more lines, printed in 1 s", 30)
    assert run.notes("a", "end") == []
    seen = run.log_lines("a")
    assert seen == [f"line {number}" for number in range(len(seen))]
    assert run.finish() == "success"
    run.assert_ran_once_with_whole_log(["a"])
    # It was read from the database: Airflow's own log folder has no such file.
    assert list((platform.folder / "airflow" / "logs").glob(f"**/run_id={run.run_id}/**/*.log*")) == []


def test_a_running_log_is_followed_with_continuation_tokens(platform: Platform, hold: "Callable[..., HeldRun]") -> None:
    run = hold("hold_one")
    run.wait_for("start", ["a"])
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/a/logs/1"
    token = ""
    seen: list[str] = []
    while len(seen) < 30:
        answer = platform.airflow.request("GET", path, params={"token": token} if token else {})
        events = [str(entry["event"]) for entry in answer["content"]]
        # Airflow's own handler would ask the executor, which returns this source.
        assert not any("runs on an edge worker" in each for each in events)
        seen += [each for each in events if each.startswith("line ")]
        token = answer["continuation_token"]
        assert token
    assert seen == [f"line {number}" for number in range(len(seen))]
    assert run.finish() == "success"


def test_task_marked_failed_while_it_runs_is_killed(
    platform: Platform, hold: "Callable[..., HeldRun]", gone: Callable[[int], bool]
) -> None:
    run = hold("hold_one")
    run.wait_for("start", ["a"])
    pid = int(run.notes("a", "start")[0][1])
    assert not gone(pid)
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/a"
    platform.airflow.request("PATCH", path, json={"new_state": "failed"})
    wait_until(lambda: gone(pid), "the task's process ends", 30)
    wait_until(lambda: run.jobs()[0].state == "failed", "the worker reports it", 15)
    assert platform.airflow.wait_for_run(run.dag_id, run.run_id, 30) == "failed"
    assert run.notes("a", "end") == []


def test_workload_longer_than_2048_characters(platform: Platform, hold: "Callable[..., HeldRun]") -> None:
    run = hold("long_dag_" + "d" * 200, run_id=f"{uuid4()}-".ljust(200, "r"))
    task = "long_task_" + "t" * 200
    run.wait_for("start", [task])
    assert len(run.jobs()[0].workload) > 2048
    assert run.finish() == "success"
    run.assert_ran_once_with_whole_log([task])


def test_restarted_scheduler_adopts_running_tasks(platform: Platform, hold: "Callable[..., HeldRun]") -> None:
    run = hold()
    tasks = ["a", "b", "c"]
    run.wait_for("start", tasks)
    platform.processes["scheduler"].kill()
    (run.folder / "release").touch()
    run.wait_for("end", tasks)  # tasks need no scheduler to end
    platform.processes["scheduler"].start()
    assert platform.airflow.wait_for_run(run.dag_id, run.run_id, 60) == "success"
    run.assert_ran_once_with_whole_log(tasks)


def test_tasks_that_outlive_the_scheduler_are_owned_by_its_successor(
    platform: Platform, hold: "Callable[..., HeldRun]"
) -> None:
    run = hold()
    tasks = ["a", "b", "c"]
    run.wait_for("start", tasks)
    before = {job.owner for job in run.jobs()}
    platform.processes["scheduler"].kill()
    platform.processes["scheduler"].start()
    wait_until(lambda: before.isdisjoint(job.owner for job in run.jobs()), "jobs are adopted", 60)
    assert run.finish() == "success"
    run.assert_ran_once_with_whole_log(tasks)
    wait_until(lambda: {job.state for job in run.jobs()} == {"succeeded"}, "all reports have arrived", 10)
