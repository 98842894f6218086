"""Operations with kubectl while tasks run: maintenance, scaling, lost pods. No task is lost."""

from functools import partial

import yaml

from edge_testing.release.release import NAME, Hold, Release
from edge_testing.repository import EXAMPLES
from edge_testing.waiting import eventually

MAINTENANCE = "airflow-edge.io/maintenance"
DATABASE = f"{NAME}-postgresql-0"
POOL = "north"
POOL_PODS = f"airflow-edge.io/pool={POOL}"
LOST_S = 120


def test_maintenance_by_annotation_while_a_task_runs(release: Release, worker: str) -> None:
    hold = release.start_hold("hold_default", 1)
    hold.wait_running(1)
    release.kubectl("annotate", "edgeworker", worker, f"{MAINTENANCE}=replacing the disk")
    _wait_state(release, worker, "maintenance pending")
    assert release.condition("edgeworker", worker, "Drained")["status"] == "False"
    (task,) = hold.finish()
    assert (task["state"], task["try_number"]) == ("success", 1)
    _wait_state(release, worker, "maintenance mode")
    assert release.condition("edgeworker", worker, "Drained")["status"] == "True"
    waiting = release.start_hold("hold_default", 1)
    waiting.let_go()
    assert release.condition("edgeworker", worker, "Cordoned")["reason"] == "Maintenance"
    release.kubectl("annotate", "edgeworker", worker, f"{MAINTENANCE}-")
    waiting.ended("success")
    release.wait_ready("edgeworker", worker)


def test_a_pool_grows_and_shrinks_to_nothing_under_running_tasks(release: Release) -> None:
    pool = yaml.safe_load((EXAMPLES / "edgeworkerpool.yaml").read_text())
    pool["spec"]["template"]["spec"]["queues"] = ["pool"]
    release.apply(pool)
    release.wait_ready("edgeworkerpool", POOL)
    slots = pool["spec"]["template"]["spec"]["concurrency"]
    hold = release.start_hold("hold_pool", 3 * slots)
    hold.wait_running(slots)
    release.kubectl("scale", "edgeworkerpool", POOL, "--replicas=3")
    hold.wait_running(3 * slots, deadline_s=180)
    assert len(release.pods(POOL_PODS)) == 3
    release.kubectl("scale", "edgeworkerpool", POOL, "--replicas=0")
    eventually(
        lambda: all("deletionTimestamp" in pod["metadata"] for pod in release.pods(POOL_PODS)), "all pods are stopped"
    )
    assert [state for state, _ in hold.states()] == ["running"] * 3 * slots
    ended = hold.finish()
    assert [(task["state"], task["try_number"]) for task in ended] == [("success", 1)] * 3 * slots
    eventually(lambda: not release.pods(POOL_PODS), "all pods are gone", 120)
    release.kubectl("delete", "edgeworkerpool", POOL, "--timeout=60s")


def test_a_deleted_pod_is_drained(release: Release, worker: str) -> None:
    hold = release.start_hold("hold_default", 1)
    hold.wait_running(1)
    old = _pod_uid(release, worker)
    release.kubectl("delete", "pod", f"edgeworker-{worker}-0", "--wait=false")
    eventually(lambda: release.status("edgeworker", worker).get("state") == "terminating", "the worker stops")
    assert [state for state, _ in hold.states()] == ["running"]
    (task,) = hold.finish()
    assert (task["state"], task["try_number"]) == ("success", 1)
    eventually(lambda: _pod_uid(release, worker) not in (None, old), "there is another pod")
    release.wait_ready("edgeworker", worker)


def test_tasks_of_a_pod_that_was_killed_are_tried_again(release: Release, worker: str) -> None:
    hold = release.start_hold("hold_default", 2)
    hold.wait_running(2)
    release.kubectl("delete", "pod", f"edgeworker-{worker}-0", "--grace-period=0", "--force")
    eventually(lambda: hold.states() == [("running", 2)] * 2, "both tasks run as second try", LOST_S, hold.states)
    ended = hold.finish()
    assert [(task["state"], task["try_number"]) for task in ended] == [("success", 2)] * 2
    release.wait_ready("edgeworker", worker)


def test_an_edge_api_replica_is_killed_while_logs_stream(release: Release, worker: str) -> None:
    hold = release.start_hold("hold_default", 1)
    hold.wait_running(1)
    # One of the two has the worker's session, so both are deleted, one after the other.
    for pod in release.component("edge-api"):
        seen = len(hold.lines())
        release.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
        eventually(partial(_more_lines, hold, seen), "the log goes on", 90, hold.log)
        release.kubectl("rollout", "status", "deployment/edge-edge-api", "--timeout=120s")
    (task,) = hold.finish()
    assert (task["state"], task["try_number"]) == ("success", 1)
    lines = hold.lines()
    assert lines == list(range(1, len(lines) + 1))
    assert f"{len(lines)} lines" in hold.log()


def test_the_database_crashes_while_tasks_run(release: Release, worker: str) -> None:
    hold = release.start_hold("hold_default", 2)
    hold.wait_running(2)
    before = _starts(release, DATABASE)
    # After a forced deletion the old server may run beside its successor, on the same files.
    release.kubectl("exec", DATABASE, "--", "sh", "-c", "kill -QUIT 1")
    eventually(lambda: _starts(release, DATABASE) > before, "it is started again")
    seen = len(hold.lines())
    eventually(partial(_more_lines, hold, seen), "the log goes on", 120, hold.log)
    ended = hold.finish()
    assert [(task["state"], task["try_number"]) for task in ended] == [("success", 1)] * 2
    lines = hold.lines()
    assert lines == list(range(1, len(lines) + 1))
    release.wait_ready("edgeworker", worker)


def _starts(release: Release, pod: str) -> int:
    """Return the restart count of a pod's container; -1 while it is not ready."""
    (status,) = release.get("pod", pod)["status"]["containerStatuses"]
    count: int = status["restartCount"]
    return count if status["ready"] else -1


def _more_lines(hold: Hold, than: int) -> bool:
    return len(hold.lines()) > than + 1


def _wait_state(release: Release, worker: str, state: str) -> None:
    eventually(
        lambda: release.status("edgeworker", worker).get("state") == state,
        f"{worker} is in {state}",
        60,
        lambda: release.status("edgeworker", worker),
    )


def _pod_uid(release: Release, worker: str) -> str | None:
    found = release.find("pod", f"edgeworker-{worker}-0")
    return found["metadata"]["uid"] if found is not None else None
