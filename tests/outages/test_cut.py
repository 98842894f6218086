"""The line of a site is cut while tasks run: nothing is lost, and nothing runs twice."""

import secrets
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_demo.platform import COMPONENTS, Platform
from edge_demo.processes import wait_until

if TYPE_CHECKING:
    from edge_testing.airflow.held_run import HeldRun
    from edge_testing.workers.one_way import Gate

TASKS = ["a", "b", "c"]
LONG = {"EDGE_WORKER_OUTAGE_TOLERANCE_S": "300"}
BRIEF = {"EDGE_WORKER_OUTAGE_TOLERANCE_S": "15"}


def running(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def states(platform: Platform, run: "HeldRun") -> dict[str, Any]:
    return {ti["task_id"]: ti["state"] for ti in platform.airflow.task_instances(run.dag_id, run.run_id)}


def unknown(platform: Platform, worker: str) -> bool:
    return bool(platform.rows("SELECT 1 FROM edge.worker WHERE name = :name AND lost", name=worker))


@pytest.mark.parametrize("seconds", [75, pytest.param(150, marks=pytest.mark.slow)])
def test_tasks_survive_a_cut_that_outlasts_their_tokens(
    platform: Platform, hold: "Callable[[str], HeldRun]", add_site: "Callable[..., Gate]", seconds: int
) -> None:
    """Meanwhile tasks run, end, push XComs and print; a scheduler and an edge API are killed."""
    gate = add_site("alpha", "default", **LONG)
    run, writer = hold("hold"), hold("hold_and_write")
    run.wait_for("start", TASKS)
    writer.wait_for("start", ["write", "quiet"])
    with gate.cut():
        began = time.monotonic()
        writer.release()
        writer.wait_for("wrote", ["write"])
        writer.wait_for("end", ["quiet"])
        ended = datetime.now(UTC)
        wait_until(lambda: unknown(platform, "alpha"), "the worker is unknown", 30)
        run.release()
        run.wait_for("end", TASKS)
        for name in ("scheduler", "edge-api-0"):
            platform.processes[name].kill()
            platform.processes[name].start()
        platform.wait_edge_api()
        # Airflow refuses a token 10 s after it has expired.
        wait_until(lambda: time.monotonic() - began > seconds, "the tokens have expired", seconds + 30)
        assert set(states(platform, run).values()) == {"running"}
        assert {job.state for job in run.jobs()} == {"running"}
        # Its task waits for the answer to its XCom.
        assert writer.notes("write", "end") == []
    for each in (run, writer):
        assert platform.airflow.wait_for_run(each.dag_id, each.run_id, 90) == "success"
    run.assert_ran_once_with_whole_log(TASKS)
    assert [note[0] for note in writer.notes("write", "end")] == ["1"]
    assert platform.airflow.xcom("hold_and_write", writer.run_id, "write", key="during") == {"pushed": True}
    [quiet] = [ti for ti in platform.airflow.task_instances(writer.dag_id, writer.run_id) if ti["task_id"] == "quiet"]
    # When it ended, not when that could be said, more than a minute later.
    assert datetime.fromisoformat(quiet["end_date"]) <= ended + timedelta(seconds=10)
    wait_until(lambda: {job.state for job in run.jobs()} == {"succeeded"}, "the reports have arrived", 30)


def test_past_the_tolerance_the_task_ends_before_its_job_is_given_up(
    platform: Platform, hold: "Callable[[str], HeldRun]", add_site: "Callable[..., Gate]"
) -> None:
    gate = add_site("gamma", "gamma", **BRIEF)
    run = hold("hold_gamma")
    run.wait_for("start", ["a"])
    pid = int(run.notes("a", "start")[0][1])
    with gate.cut():
        wait_until(lambda: not running(pid), "the worker ends the task", 30)
        assert [job.state for job in run.jobs()] == ["running"]
        wait_until(lambda: run.jobs()[0].state != "running", "the job is given up", 30)
        assert "outage tolerance of 15 s" in str(run.jobs()[0].error)
    run.wait_for("start", ["a"], times=2, timeout_s=60)
    assert run.finish() == "success"
    assert [note[0] for note in run.notes("a", "end")] == ["2"]


@pytest.mark.parametrize("resumed", [True, False])
def test_a_stopped_agent_does_not_keep_a_task_past_its_tolerance(
    platform: Platform, hold: "Callable[[str], HeldRun]", add_site: "Callable[..., Gate]", resumed: bool
) -> None:
    """The process that started the task ends it."""
    add_site("gamma", "gamma", **BRIEF)
    run = hold("hold_gamma")
    run.wait_for("start", ["a"])
    pid = int(run.notes("a", "start")[0][1])
    agent = platform.processes["gamma"]
    agent.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: not running(pid), "the task ends", 30)
        assert [job.state for job in run.jobs()] == ["running"]
        wait_until(lambda: run.jobs()[0].state != "running", "the job is given up", 30)
    finally:
        if resumed:
            agent.signal(signal.SIGCONT)
        else:
            agent.kill()
            agent.start()
    run.wait_for("start", ["a"], times=2, timeout_s=60)
    assert run.finish() == "success"
    assert [note[0] for note in run.notes("a", "end")] == ["2"]


@pytest.mark.parametrize("action", ["failed", "cleared"])
def test_what_a_person_decides_during_the_cut_counts_at_the_return(
    platform: Platform, hold: "Callable[[str], HeldRun]", add_site: "Callable[..., Gate]", action: str
) -> None:
    # Its retries have no delay: a cleared task waits for that as well.
    gate = add_site("gamma", "gamma", **LONG)
    run = hold("hold_gamma")
    run.wait_for("start", ["a"])
    pid = int(run.notes("a", "start")[0][1])
    with gate.cut():
        if action == "failed":
            path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/a"
            platform.airflow.request("PATCH", path, json={"new_state": "failed"})
        else:
            body = {"dag_run_id": run.run_id, "dry_run": False, "only_failed": False, "task_ids": ["a"]}
            platform.airflow.request("POST", f"dags/{run.dag_id}/clearTaskInstances", json=body)
        wait_until(lambda: unknown(platform, "gamma"), "the worker is unknown", 30)
        assert running(pid)
        assert len(run.notes("a", "start")) == 1
    wait_until(lambda: not running(pid), "the task is ended at the return", 30)
    if action == "failed":
        assert platform.airflow.wait_for_run(run.dag_id, run.run_id, 60) == "failed"
        assert len(run.notes("a", "start")) == 1
    else:
        run.wait_for("start", ["a"], times=2, timeout_s=60)
        assert run.finish() == "success"
    assert len(run.notes("a", "end")) == (0 if action == "failed" else 1)


def test_airflows_key_is_changed_during_the_cut(
    platform: Platform, hold: "Callable[[str], HeldRun]", add_site: "Callable[..., Gate]"
) -> None:
    """The task's token is valid no more; it gets one that is signed with the new key."""
    gate = add_site("delta", "delta", **LONG)
    run = hold("hold_delta")
    run.wait_for("start", ["a"])
    key = secrets.token_urlsafe(64)
    with gate.cut():
        for name in COMPONENTS:
            platform.processes[name].env["AIRFLOW__API_AUTH__JWT_SECRET"] = key
            platform.processes[name].end()
            platform.processes[name].start()
        platform.revive_airflow()
        platform.airflow.log_in_again()
    assert run.finish() == "success"
    run.assert_ran_once_with_whole_log(["a"])


def test_the_database_is_away_during_the_cut(
    platform: Platform, hold: "Callable[[str], HeldRun]", add_site: "Callable[..., Gate]"
) -> None:
    gate = add_site("delta", "delta", **LONG)
    run = hold("hold_delta")
    run.wait_for("start", ["a"])
    with gate.cut():
        wait_until(lambda: unknown(platform, "delta"), "the worker is unknown", 30)
        platform.postgres.restart()
        platform.wait_edge_api()
        platform.revive_airflow()
        assert states(platform, run) == {"a": "running"}
    assert run.finish(each_turn=platform.restart_ended) == "success"
    run.assert_ran_once_with_whole_log(["a"])
