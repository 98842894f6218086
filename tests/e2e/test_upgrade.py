"""helm upgrade to another image and rollback, while tasks run: none is lost, none runs twice."""

from functools import partial

import pytest

from edge_testing.release.release import NAME, Hold, Release
from edge_testing.repository import CHART
from edge_testing.waiting import eventually

pytestmark = pytest.mark.slow


def test_upgrade_and_rollback_while_tasks_run(release: Release, worker: str) -> None:
    old, new = release.cluster.tag, release.cluster.other_tag
    upgrade = ("upgrade", NAME, str(CHART), *release.values(new), "--wait", "--timeout", "5m")
    _change(release, worker, upgrade, new)
    _change(release, worker, ("rollback", NAME, "--wait", "--timeout", "5m"), old)


def _change(release: Release, worker: str, command: tuple[str, ...], tag: str) -> None:
    hold = release.start_hold("hold_default", 2)
    hold.wait_running(2)
    release.helm(*command)
    for component in ("edge-api", "operator", "scheduler", "api-server"):
        eventually(partial(_is_of, release, component, tag), f"{component} is of {tag}")
    _wait_drain(release, worker, hold)
    ended = hold.finish()
    assert [(task["state"], task["try_number"]) for task in ended] == [("success", 1)] * 2
    eventually(lambda: _worker_tag(release, worker) == tag, f"the worker is of {tag}", 120)
    release.wait_ready("edgeworker", worker)


def _wait_drain(release: Release, worker: str, hold: Hold) -> None:
    """Wait until the worker is asked to stop; its tasks continue."""
    eventually(
        lambda: release.status("edgeworker", worker).get("state") == "terminating", f"{worker} is being replaced", 90
    )
    assert [state for state, _ in hold.states()] == ["running"] * 2


def _is_of(release: Release, component: str, tag: str) -> bool:
    return {_tag(pod) for pod in release.component(component)} == {tag}


def _worker_tag(release: Release, worker: str) -> str | None:
    pod = release.find("pod", f"edgeworker-{worker}-0")
    return _tag(pod) if pod is not None else None


def _tag(pod: dict[str, dict[str, list[dict[str, str]]]]) -> str:
    return pod["spec"]["containers"][0]["image"].rpartition(":")[2]
