"""Every deletion ends in bounded time, whatever fails."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_operator.desired.deletion import REMOVAL_MARGIN, REMOVAL_PATIENCE, Progress, Situation, Step, next_step
from edge_protocol.worker_state import WorkerState
from edge_testing.operator.builders import NOW, make_pod, make_view, make_worker

DRAIN_S = 60
POD = make_pod(terminating=True, stop_time=NOW, kill_time=NOW + timedelta(seconds=DRAIN_S + 45))


def situation(**changes: object) -> Situation:
    mode = changes.pop("mode", "Managed")
    annotations = changes.pop("annotations", None)
    whole = Situation(
        worker=make_worker(deleted_s=0, mode=mode, drainTimeoutSeconds=DRAIN_S, annotations=annotations),  # type: ignore[arg-type]
        view=make_view(),
        owns_name=True,
        fleet_known=True,
        unreachable_since=None,
        api_patience=timedelta(seconds=30),
        stop_margin=timedelta(seconds=45),
        pods=[],
        replicas=0,
        progress=Progress(),
        now=NOW,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


@given(
    mode=st.sampled_from(["Managed", "External"]),
    state=st.sampled_from(list(WorkerState)),
    known=st.booleans(),
    away=st.booleans(),
    stuck_pod=st.booleans(),
    forced=st.booleans(),
    stubborn=st.booleans(),
    kept=st.booleans(),
)
def test_a_deletion_ends_in_bounded_time(
    mode: str, state: WorkerState, known: bool, away: bool, stuck_pod: bool, forced: bool, stubborn: bool, kept: bool
) -> None:
    """Run the steps against a cluster and a fleet that carry out as few of them as possible."""
    now, progress = NOW, Progress()
    annotations = {"airflow-edge.io/force-delete": "yes"} if forced else {}
    pods = [POD] if stuck_pod and mode == "Managed" else []
    view = make_view(state=state, jobs_kept_until=NOW + timedelta(hours=1) if kept else None)
    replicas = 1
    for _ in range(1000):
        step = next_step(
            situation(
                mode=mode,
                annotations=annotations,
                view=view,
                fleet_known=known,
                pods=pods,
                replicas=replicas,
                unreachable_since=NOW if away else None,
                progress=progress,
                now=now,
            )
        )
        if step.finish:
            assert now <= NOW + timedelta(seconds=DRAIN_S + 45) + REMOVAL_MARGIN + REMOVAL_PATIENCE + timedelta(
                seconds=60
            )
            assert not (forced and now > NOW + REMOVAL_MARGIN + REMOVAL_PATIENCE)
            return
        replicas = 0 if step.stop_pods else replicas
        progress.force_deleted |= {pod.uid for pod in step.force_delete_pods}
        if step.force_delete_pods and not stubborn:
            pods = []
        progress.revoked = progress.revoked or step.revoke
        if step.remove:
            progress.removal_since = progress.removal_since or now
        now += max(step.wait, timedelta(milliseconds=100))
    pytest.fail("the deletion does not end")


def test_the_deletion_waits_for_running_tasks() -> None:
    assert next_step(situation(pods=[POD])).message.startswith("Waiting for pod")
    assert next_step(situation(mode="External", view=make_view(state=WorkerState.RUNNING))).request_shutdown


def test_a_worker_of_another_object_is_left_alone() -> None:
    assert next_step(situation(owns_name=False)) == Step(finish=True)


def test_credentials_are_revoked_before_the_worker_is_removed() -> None:
    offline = make_view(state=WorkerState.OFFLINE)
    assert next_step(situation(view=offline)).revoke
    assert next_step(situation(view=offline, progress=Progress(revoked=True))).remove
    assert next_step(situation(view=None, progress=Progress(revoked=True))) == Step(finish=True)


def test_leaks_are_named() -> None:
    gone = next_step(situation(unreachable_since=NOW, now=NOW + timedelta(seconds=31)))
    assert gone.finish
    assert "worker plant-7 in the fleet" in gone.leaks[0]


def test_a_worker_out_of_contact_stays_while_its_tasks_may_still_run() -> None:
    view = make_view(state=WorkerState.UNKNOWN, jobs_kept_until=NOW + timedelta(seconds=30))
    step = next_step(situation(view=view))
    assert (step.revoke, step.remove, step.finish) == (False, False, False)
    assert "its tasks may still run" in step.message
    forced = {"airflow-edge.io/force-delete": "yes"}
    assert next_step(situation(view=view, annotations=forced)).revoke
    assert next_step(situation(view=view, now=NOW + timedelta(seconds=DRAIN_S + 45))).revoke
    assert next_step(situation(view=make_view(state=WorkerState.UNKNOWN))).revoke
