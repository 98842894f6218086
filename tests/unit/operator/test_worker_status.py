"""The status of an EdgeWorker: when it counts as drained, what is being changed, and whose view it shows."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from edge_operator.api.conditions import Condition, Reason
from edge_operator.api.types import timestamp
from edge_operator.desired.observed_pod import PodHistory, read_pod
from edge_operator.desired.worker_status import Observed, worker_status
from edge_protocol.worker_state import WorkerState
from edge_testing.operator.builders import NOW, make_pod, make_view, make_worker

POD = make_pod()


def observed(**changes: Any) -> Observed:
    whole = Observed(
        worker=make_worker(),
        view=make_view(),
        fleet_known=True,
        fleet_fresh=True,
        view_is_of_pod=True,
        pods=[],
        now=NOW,
    )
    return replace(whole, **changes)


def condition(seen: Observed, kind: Condition) -> tuple[str, str, str]:
    conditions = {one["type"]: one for one in worker_status(seen)["conditions"]}
    return conditions[kind]["status"], conditions[kind]["reason"], conditions[kind]["message"]


@pytest.mark.parametrize(
    ("state", "jobs", "status", "reason"),
    [
        (WorkerState.IDLE, 0, "False", Reason.NOT_CORDONED),
        (WorkerState.MAINTENANCE_REQUEST, 0, "False", Reason.TASKS_RUNNING),
        (WorkerState.MAINTENANCE_PENDING, 1, "False", Reason.TASKS_RUNNING),
        (WorkerState.MAINTENANCE_MODE, 0, "True", Reason.NO_TASKS),
        (WorkerState.SHUTDOWN_REQUEST, 0, "False", Reason.TASKS_RUNNING),
        (WorkerState.OFFLINE_MAINTENANCE, 0, "True", Reason.NO_TASKS),
    ],
)
def test_drained(state: WorkerState, jobs: int, status: str, reason: Reason) -> None:
    comment = None if state is WorkerState.IDLE else "new disk"
    seen = observed(view=make_view(state=state, jobs_active=jobs, comment=comment))
    assert condition(seen, Condition.DRAINED)[:2] == (status, reason.value)


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({}, "True", Reason.CREATING),
        ({"rolling": "It drains."}, "True", Reason.ROLLING),
        ({"pods": [POD]}, "False", Reason.UP_TO_DATE),
        ({"pods": [POD], "view_is_of_pod": False}, "True", Reason.CREATING),
        ({"pods": [POD], "change_sent": True}, "True", Reason.CHANGING),
        ({"pods": [POD], "problem": (Reason.INVALID_TEMPLATE, "It is refused.")}, "False", Reason.BLOCKED),
        ({"blocked": "secrets is forbidden"}, "False", Reason.BLOCKED),
        ({"blocked": "secrets is forbidden", "rolling": "It drains."}, "True", Reason.ROLLING),
        ({"deleting": "Waiting."}, "True", Reason.DELETING),
    ],
)
def test_progressing(changes: dict[str, Any], status: str, reason: Reason) -> None:
    assert condition(observed(**changes), Condition.PROGRESSING)[:2] == (status, reason.value)


def test_a_refusal_of_the_apiserver_is_shown_and_hides_neither_cordon_nor_readiness() -> None:
    seen = observed(pods=[POD], view=make_view(comment="fan"), blocked="secrets is forbidden")
    assert condition(seen, Condition.PROGRESSING)[2] == "secrets is forbidden"
    assert condition(seen, Condition.CORDONED)[:2] == ("True", Reason.MAINTENANCE.value)
    assert condition(seen, Condition.READY)[:2] == ("False", Reason.CORDONED.value)


def test_a_worker_that_fails_to_join_shows_one_reason_while_its_container_is_restarted() -> None:
    """Waiting, running for seconds, ended and waiting again: who looks at any time sees why."""
    refused = "edge-worker: the join token is not valid."
    ended = {"terminated": {"exitCode": 2, "reason": "Error", "message": f"starting\n{refused}\n"}}
    states = [({"waiting": {"reason": "CrashLoopBackOff"}}, ended), ({"running": {}}, ended), (ended, {})]
    for state, last_state in states:
        container = {"name": "worker", "state": state, "lastState": last_state}
        status = {"phase": "Running", "containerStatuses": [container]}
        pod = read_pod({"metadata": {"name": "edgeworker-w-0", "uid": "u"}, "status": status})
        seen = observed(pods=[pod], view=None)
        assert condition(seen, Condition.READY)[1] == Reason.POD_FAILING.value
        assert refused in condition(seen, Condition.READY)[2]
    joined = observed(pods=[make_pod(last_failure="Error: out of memory")])
    assert condition(joined, Condition.READY)[1] == Reason.READY.value


def test_a_view_from_before_the_pod_was_replaced_is_not_of_the_pod() -> None:
    first, second = [POD], [make_pod(uid="2")]
    history = PodHistory().after(first, make_view(revision=5))
    assert history.is_current(make_view(revision=5))
    replaced = history.after([], make_view(revision=7)).after(second, make_view(revision=7))
    assert not replaced.is_current(make_view(revision=7))
    assert replaced.is_current(make_view(revision=8))
    # Asking changes nothing.
    assert not replaced.is_current(make_view(revision=7))


def test_a_worker_that_left_before_its_pod_was_gone_is_current_when_it_returns() -> None:
    history = PodHistory().after([POD], make_view(revision=5))
    assert history.after([], make_view(revision=6, state=WorkerState.OFFLINE)).is_current(make_view(revision=6))


def test_a_worker_out_of_contact_says_until_when_its_tasks_are_kept() -> None:
    view = make_view(state=WorkerState.UNKNOWN, jobs_active=2, jobs_kept_until=NOW + timedelta(seconds=600))
    status, reason, message = condition(observed(view=view, worker=make_worker(mode="External")), Condition.READY)
    assert (status, reason) == ("False", Reason.HEARTBEAT_LOST)
    assert message == (
        f"The worker is out of contact since {timestamp(NOW)}; 2 running tasks are kept until "
        f"{timestamp(NOW + timedelta(seconds=600))}."
    )
