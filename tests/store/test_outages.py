"""Jobs of workers that are out of contact: their tolerance, who keeps them, and when they are given up."""

import dataclasses
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from edge_store import outages
from edge_store.database import engine
from edge_store.database.statement import rows, run
from edge_store.jobs import claims, job_views, leases, scheduling
from edge_store.schema import platform
from edge_store.workers import agents, requests, worker_views
from edge_testing.database.records import new_job, one

WINDOW = timedelta(seconds=30)
STALL = timedelta(seconds=5)
LEAST = WINDOW + timedelta(seconds=5)
TOLERANCE_S = 600


def register(db: Connection, **values: Any) -> agents.Registration:
    new = agents.Registration("w1", uuid4(), None, ["default"], 4, uuid4(), uuid4(), None, {})
    new = dataclasses.replace(new, **{"outage_tolerance_s": TOLERANCE_S, "kill_grace_s": 10, **values})
    assert len(rows(db, agents.register(new, WINDOW))) == 1
    return new


def run_job(db: Connection, worker: agents.Registration, queue_s: int | None = None) -> UUID:
    """Let a worker accept a job, and return its lease."""
    job, lease = new_job(), uuid4()
    run(db, scheduling.enqueue(job))
    pick = claims.Pick(job.id, worker.name, worker.session_id, lease, queue_s)
    assert len(rows(db, claims.claim([pick], timedelta(seconds=10), LEAST))) == 1
    [accepted] = rows(db, leases.accept([leases.HeldLease(lease, worker.name)]))
    assert not accepted.locked
    return lease


def job_of(db: Connection, lease: UUID) -> Any:
    return db.execute(text("SELECT * FROM edge.job WHERE lease_id = :lease").bindparams(lease=lease)).one()


def silent_for(db: Connection, seconds: float) -> None:
    """Move the last heartbeat, and the accepts before it, into the past; the database was well meanwhile."""
    run(db, platform.canary(STALL))
    db.execute(
        text(
            "WITH beat AS (UPDATE edge.worker SET last_heartbeat = now() - make_interval(secs => :s)) "
            "UPDATE edge.job SET started_at = now() - make_interval(secs => :s + 1) WHERE started_at IS NOT NULL"
        ).bindparams(s=seconds)
    )


def pass_of_liveness(db: Connection) -> int:
    """Return how many jobs the duty gives up."""
    silent = rows(db, agents.lose_silent(WINDOW, STALL))
    return sum(row.jobs for row in silent) + sum(row.jobs for row in rows(db, outages.give_up_overdue(WINDOW, STALL)))


@pytest.mark.parametrize(
    ("worker_s", "queue_s", "expected_s"),
    [(600, None, 600), (600, 60, 60), (60, 600, 60), (0, 600, 0), (600, 0, 0), (600, 44, 0), (600, 45, 45)],
)
def test_the_shorter_tolerance_counts(db: Connection, worker_s: int, queue_s: int | None, expected_s: int) -> None:
    worker = register(db, outage_tolerance_s=worker_s)
    assert job_of(db, run_job(db, worker, queue_s)).outage_tolerance_s == expected_s


def test_a_job_is_kept_for_its_tolerance_and_then_given_up(db: Connection) -> None:
    worker = register(db)
    kept, lost = run_job(db, worker), run_job(db, worker, queue_s=0)
    silent_for(db, TOLERANCE_S - 5)
    assert pass_of_liveness(db) == 1
    assert (job_of(db, kept).state, job_of(db, lost).state) == ("running", "lost")
    seen = one(db, worker_views.one_worker("w1"))
    assert seen.lost
    assert seen.jobs_active == 1
    assert seen.jobs_kept_until == seen.last_heartbeat + timedelta(seconds=TOLERANCE_S)
    assert one(db, outages.out_of_contact()).jobs == 1
    silent_for(db, TOLERANCE_S + 1)
    assert pass_of_liveness(db) == 1
    job = job_of(db, kept)
    assert (job.state, job.workload, job.event_pending) == ("lost", None, True)
    assert "outage tolerance of 600 s" in job.error
    seen = one(db, worker_views.one_worker("w1"))
    assert (seen.jobs_active, seen.jobs_kept_until) == (0, None)
    assert one(db, outages.out_of_contact()).jobs == 0


def test_a_worker_that_returns_in_time_keeps_its_job(db: Connection) -> None:
    worker = register(db)
    lease = run_job(db, worker)
    silent_for(db, TOLERANCE_S - 5)
    pass_of_liveness(db)
    back = dataclasses.replace(worker, session_id=uuid4())
    assert len(rows(db, agents.register(back, WINDOW))) == 1
    silent_for(db, 0)
    assert pass_of_liveness(db) == 0
    [done] = rows(db, leases.report([leases.JobReport(lease, "w1", "succeeded", 0, None)]))
    assert done.result == "finished"


def test_nothing_is_given_up_right_after_a_stall_of_the_database(db: Connection) -> None:
    lease = run_job(db, register(db))
    silent_for(db, TOLERANCE_S + 1)
    rows(db, agents.lose_silent(WINDOW, STALL))
    db.execute(text("UPDATE edge.platform SET value = (now() - interval '29 s')::text WHERE key = 'canary'"))
    assert rows(db, outages.give_up_overdue(WINDOW, STALL)) == []
    db.execute(text("UPDATE edge.platform SET updated_at = now() - interval '6 s', value = '' WHERE key = 'canary'"))
    assert rows(db, outages.give_up_overdue(WINDOW, STALL)) == []
    run(db, platform.canary(timedelta(seconds=60)))
    assert len(rows(db, outages.give_up_overdue(WINDOW, STALL))) == 1
    assert job_of(db, lease).state == "lost"


def test_name_and_row_stay_while_a_task_may_still_run(db: Connection) -> None:
    """Otherwise its job would be lost although its task runs, and run twice."""
    lease = run_job(db, register(db))
    silent_for(db, TOLERANCE_S - 5)
    pass_of_liveness(db)
    stranger = agents.Registration("w1", uuid4(), None, ["default"], 4, uuid4(), uuid4(), None, {})
    assert rows(db, agents.register(stranger, WINDOW)) == []
    assert one(db, agents.name_owner("w1", WINDOW)).live
    assert rows(db, requests.remove(["w1"])) == []
    assert job_of(db, lease).state == "running"
    silent_for(db, TOLERANCE_S + 1)
    pass_of_liveness(db)
    assert not one(db, agents.name_owner("w1", WINDOW)).live
    assert len(rows(db, agents.register(stranger, WINDOW))) == 1
    silent_for(db, 40)
    pass_of_liveness(db)
    assert [row.name for row in rows(db, requests.remove(["w1"]))] == ["w1"]


def test_a_scheduler_finds_its_jobs_that_are_away_or_want_a_token(db: Connection) -> None:
    worker = register(db)
    lease = run_job(db, worker)
    owner, silence = job_of(db, lease).owner, timedelta(seconds=75)
    assert rows(db, outages.away(owner, silence)) == []
    silent_for(db, 80)
    # By time alone: the edge API, which declares workers unknown, may be away as well.
    assert [each.id for each in rows(db, outages.away(owner, silence))] == [job_of(db, lease).id]
    assert rows(db, outages.away("another", silence)) == []
    silent_for(db, TOLERANCE_S + 1)
    assert rows(db, outages.away(owner, silence)) == []
    run(db, outages.ask_for_tokens([lease, uuid4()]))
    assert [each.id for each in rows(db, outages.want_token(owner))] == [job_of(db, lease).id]
    assert len(rows(db, outages.away(owner, silence))) == 1
    run(db, outages.store_tokens({job_of(db, lease).id: "new"}))
    assert rows(db, outages.want_token(owner)) == []
    assert [call.execution_token for call in rows(db, outages.calling([lease, uuid4()]))] == ["new"]
    rows(db, leases.report([leases.JobReport(lease, "w1", "succeeded", 0, None)]))
    assert job_of(db, lease).execution_token is None
    # A job that has just finished gets none.
    run(db, outages.store_tokens({job_of(db, lease).id: "late"}))
    assert job_of(db, lease).execution_token is None


def test_people_see_the_tolerance(db: Connection) -> None:
    lease = run_job(db, register(db))
    assert one(db, job_views.one_job(job_of(db, lease).id)).outage_tolerance_s == TOLERANCE_S
    assert one(db, worker_views.one_worker("w1")).outage_tolerance_s == TOLERANCE_S


@given(worker_s=st.integers(0, 1000), queue_s=st.none() | st.integers(0, 1000), grace_s=st.integers(0, 60))
@settings(max_examples=50, deadline=None)
def test_no_tolerance_is_shorter_than_the_worker_needs(
    module_database: str, worker_s: int, queue_s: int | None, grace_s: int
) -> None:
    with engine.make_engine(module_database).connect() as db:
        worker = register(db, outage_tolerance_s=worker_s, kill_grace_s=grace_s)
        found = job_of(db, run_job(db, worker, queue_s)).outage_tolerance_s
        assert found == 0 or found >= LEAST.total_seconds() + grace_s
        assert found <= min(worker_s, worker_s if queue_s is None else queue_s)
