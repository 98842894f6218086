"""Explanations: one test for each verdict, and agreement with the reasons for any fleet."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_api.fleet.explain import WORKERS_MOST, explain, reasons_against
from edge_api.fleet.views import QueueLoad, matches, queue_views
from edge_protocol.admin import CordonView, JobView, Reason, ReasonCode, Verdict, WorkerFilter, WorkerView
from edge_protocol.frames import Versions
from edge_protocol.worker_state import WorkerState

NOW = datetime(2026, 11, 21, 20, tzinfo=UTC)


def job(**values: Any) -> JobView:
    base: dict[str, Any] = dict.fromkeys(JobView.model_fields)
    base |= {
        "id": uuid4(),
        "kind": "task",
        "state": "queued",
        "queue": "q",
        "priority": 1,
        "slots": 2,
        "queued_at": NOW,
        "outage_tolerance_s": 0,
    }
    return JobView(**(base | values))


def worker(name: str = "w1", reasons: tuple[ReasonCode, ...] = (), **values: Any) -> WorkerView:
    base: dict[str, Any] = {
        "name": name,
        "state": "idle",
        "team": None,
        "queues": ["q"],
        "queues_added": [],
        "queues_removed": [],
        "concurrency": 4,
        "concurrency_override": None,
        "jobs_active": 0,
        "slots_free": 4,
        "slots_used": 0,
        "maintenance": None,
        "shutdown": False,
        "cordon": CordonView(reasons=[Reason(code=code, message=f"because of {code}.") for code in reasons]),
        "protocol": 2,
        "versions": Versions(worker="1"),
        "sysinfo": {},
        "first_online": NOW,
        "last_heartbeat": NOW - timedelta(minutes=3),
        "revision": 1,
    }
    return WorkerView(**(base | values))


M, V, SHUTDOWN = ReasonCode.MAINTENANCE, ReasonCode.VERSION, ReasonCode.SHUTDOWN


@pytest.mark.parametrize(
    ("fleet", "verdict", "said"),
    [
        ([], Verdict.NO_WORKER, "add-worker-queues"),
        ([worker(queues=["other"])], Verdict.NO_WORKER, "No worker serves the queue q"),
        ([worker(team="blue")], Verdict.TEAM, "none of no team: w1"),
        ([worker(state="offline"), worker("w2", state="unknown")], Verdict.GONE, "w1, w2; the last was heard of 3 min"),
        ([worker(reasons=(M,))], Verdict.CORDONED, "because of maintenance. End the maintenance"),
        ([worker(reasons=(SHUTDOWN,)), worker("w2", state="offline")], Verdict.CORDONED, "Start another worker"),
        ([worker(reasons=(V,))], Verdict.VERSION, "policy allows"),
        ([worker(reasons=(V,)), worker("w2", reasons=(M,))], Verdict.CORDONED, "w1: because of version"),
        ([worker(concurrency=1), worker("w2", reasons=(M,))], Verdict.SLOTS_NEVER, "needs 2 slots; the largest"),
        ([worker(slots_free=1, slots_used=3)], Verdict.SLOTS_BUSY, "free now is 1 (w1)"),
        ([worker(slots_free=1), worker("w2")], Verdict.DISPATCHING, "Worker w2 has room"),
        ([worker(queues=["*"])], Verdict.DISPATCHING, "w1"),
    ],
)
def test_waiting(fleet: list[WorkerView], verdict: Verdict, said: str) -> None:
    explanation = explain(job(), fleet, NOW)
    assert explanation.verdict is verdict
    assert said in explanation.message


@pytest.mark.parametrize(
    ("state", "verdict", "said"),
    [
        ("running", Verdict.RUNNING, "runs on worker w1"),
        ("leased", Verdict.LEASED, "given to worker w1"),
        ("failed", Verdict.FINISHED, "ended as failed: boom"),
    ],
)
def test_not_waiting(state: str, verdict: Verdict, said: str) -> None:
    explanation = explain(job(state=state, worker="w1", started_at=NOW, leased_at=NOW, error="boom"), [], NOW)
    assert (explanation.verdict, said in explanation.message) == (verdict, True)


def test_the_nearest_workers_come_first_and_not_too_many() -> None:
    fleet = [worker(f"w{n:03}", reasons=(M,)) for n in range(150)] + [worker("z", slots_free=2)]
    listed = explain(job(), fleet, NOW).workers
    assert len(listed) == WORKERS_MOST
    assert (listed[0].name, listed[0].reasons) == ("z", [])
    assert listed[1].name == "w000"


WORKERS = st.builds(
    worker,
    name=st.sampled_from(["a", "b", "c"]),
    reasons=st.sets(st.sampled_from([M, V, SHUTDOWN])).map(lambda codes: tuple(sorted(codes))),
    state=st.sampled_from(sorted(WorkerState)),
    team=st.sampled_from([None, "blue"]),
    queues=st.sampled_from([["q"], ["r"], ["*"], ["q", "r"]]),
    concurrency=st.integers(1, 5),
    slots_free=st.integers(0, 5),
)


@given(fleet=st.lists(WORKERS, max_size=6), slots=st.integers(1, 6), team=st.sampled_from([None, "blue"]))
def test_a_job_is_about_to_be_given_out_exactly_if_a_worker_has_no_reason(
    fleet: list[WorkerView], slots: int, team: str | None
) -> None:
    wanted = job(slots=slots, team=team)
    explanation = explain(wanted, fleet, NOW)
    able = [each for each in fleet if not reasons_against(each, wanted, NOW)]
    assert (explanation.verdict is Verdict.DISPATCHING) == bool(able)
    assert explanation.message.strip()


def test_queue_statistics_leave_out_workers_that_are_gone_or_cordoned() -> None:
    fleet = [
        worker("a", slots_free=3, slots_used=1),
        worker("b", reasons=(M,), slots_free=4, slots_used=2),
        worker("c", state="unknown", slots_free=0),
        worker("d", queues=["*"], slots_free=1, concurrency=1),
    ]
    q, r = queue_views({"r": QueueLoad(3, 7.5), "past": QueueLoad(finished_per_min=2)}, fleet)
    assert (q.queue, q.depth, q.slots_free, q.slots_used, q.workers_capable, q.workers_cordoned) == ("q", 0, 4, 3, 2, 1)
    assert (r.queue, r.depth, r.oldest_s, r.slots_free, r.workers_capable) == ("r", 3, 7.5, 1, 1)


@pytest.mark.parametrize(
    ("tolerance_s", "state", "said"),
    [
        (0, "running", "runs on worker w1 since"),
        (600, "running", "runs on worker w1 since"),
        (0, "unknown", "out of contact since 2026-11-21T19:57:00+00:00. It is about to be given up."),
        # From the accept on, which came after the last heartbeat.
        (600, "unknown", "It is kept until 2026-11-21T20:08:00+00:00: if"),
    ],
)
def test_a_running_job_of_a_worker_out_of_contact(tolerance_s: int, state: str, said: str) -> None:
    started = NOW - timedelta(minutes=2)
    wanted = job(state="running", worker="w1", started_at=started, outage_tolerance_s=tolerance_s)
    # Whatever it serves by now.
    explanation = explain(wanted, [worker("w2", state="unknown"), worker(state=state, queues=["other"])], NOW)
    assert explanation.verdict is Verdict.RUNNING
    assert said in explanation.message


@pytest.mark.parametrize(
    ("wanted", "good"),
    [
        (WorkerFilter(), True),
        (WorkerFilter(name="plant-*"), True),
        (WorkerFilter(name="plant-[12]"), False),
        (WorkerFilter(name="PLANT-*"), False),
        (WorkerFilter(queue=["x", "q"]), True),
        (WorkerFilter(queue=["x"]), False),
        (WorkerFilter(state=[WorkerState.IDLE, WorkerState.RUNNING]), True),
        (WorkerFilter(state=[WorkerState.OFFLINE]), False),
        (WorkerFilter(team="blue"), True),
        (WorkerFilter(team="red", name="*"), False),
    ],
)
def test_filters(wanted: WorkerFilter, good: bool) -> None:
    assert matches(worker("plant-7", team="blue"), wanted) is good
