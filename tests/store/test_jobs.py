"""The statements of a job's life, each against real PostgreSQL."""

import dataclasses
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Row, text

from edge_protocol.job_state import FINISHED_STATES, TRANSITIONS, JobEvent, JobState
from edge_store import claims, engine, jobs, leases, logs, workers

SECOND = timedelta(seconds=1)


@pytest.fixture
def db(database: str) -> Iterator[Connection]:
    made = engine.make_engine(database)
    with made.connect() as connection:
        yield connection


def new_job(**changes: Any) -> jobs.NewJob:
    job = jobs.NewJob(
        id=uuid4(),
        kind="task",
        queue="default",
        team=None,
        rank=1,
        priority=1,
        slots=1,
        workload='{"token": "secret"}',
        log_path="dag/run/task/1.log",
        dag_id="dag",
        task_id="task",
        run_id="run",
        map_index=-1,
        try_number=1,
        owner="1",
    )
    return dataclasses.replace(job, **changes)


def register(db: Connection, name: str = "w1", **changes: Any) -> workers.Registration:
    new = workers.Registration(
        name=name,
        identity=uuid4(),
        team=None,
        queues=["default"],
        concurrency=4,
        session_id=uuid4(),
        instance=uuid4(),
        cordon_reason=None,
        versions={},
    )
    new = dataclasses.replace(new, **changes)
    assert db.execute(workers.register(new, 30 * SECOND)).one().name == name
    return new


def claim(db: Connection, job: jobs.NewJob, worker: workers.Registration) -> UUID | None:
    lease = uuid4()
    rows = db.execute(claims.claim([claims.Pick(job.id, worker.name, worker.session_id, lease)], 10 * SECOND)).all()
    return lease if rows else None


def state(db: Connection, job: jobs.NewJob) -> Row[Any]:
    return db.execute(text("SELECT * FROM edge.job WHERE id = :id").bindparams(id=job.id)).one()


def report(lease: UUID, worker: str, outcome: Any = "succeeded") -> leases.JobReport:
    return leases.JobReport(lease, worker, outcome, 0, None)


def test_whole_life(db: Connection) -> None:
    worker, job = register(db), new_job()
    db.execute(jobs.enqueue(job))
    assert (lease := claim(db, job, worker)) is not None
    assert db.execute(leases.accept([leases.HeldLease(lease, "w1")])).one().queue == "default"
    assert db.execute(leases.report([report(lease, "w1")])).one() == (lease, "w1", True)
    row = state(db, job)
    assert (row.state, row.workload, row.event_pending) == ("succeeded", None, True)
    assert [event.id for event in db.execute(jobs.take_events("1"))] == [job.id]
    assert db.execute(jobs.take_events("1")).all() == []


def test_repeated_accept_and_report_are_good(db: Connection) -> None:
    worker, job = register(db), new_job()
    db.execute(jobs.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    for _ in range(2):
        assert len(db.execute(leases.accept([leases.HeldLease(lease, "w1")])).all()) == 1
    assert [row.fresh for row in db.execute(leases.report([report(lease, "w1")]))] == [True]
    assert [row.fresh for row in db.execute(leases.report([report(lease, "w1")]))] == [False]


def test_stale_or_foreign_lease_changes_nothing(db: Connection) -> None:
    worker, job = register(db), new_job()
    register(db, "w2")
    db.execute(jobs.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    for held in (leases.HeldLease(uuid4(), "w1"), leases.HeldLease(lease, "w2")):
        assert db.execute(leases.accept([held])).all() == []
        assert db.execute(leases.report([report(held.lease_id, held.worker)])).all() == []
    assert state(db, job).state == "leased"


def test_enqueue_again_voids_the_old_lease(db: Connection) -> None:
    worker, job = register(db), new_job()
    db.execute(jobs.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    db.execute(leases.accept([leases.HeldLease(lease, "w1")]))
    db.execute(jobs.enqueue(dataclasses.replace(job, workload="{}")))
    assert db.execute(leases.report([report(lease, "w1")])).all() == []
    assert claim(db, job, worker) not in (None, lease)


def test_unaccepted_claim_goes_back(db: Connection) -> None:
    worker, job = register(db), new_job()
    db.execute(jobs.enqueue(job))
    lease = uuid4()
    pick = claims.Pick(job.id, worker.name, worker.session_id, lease)
    db.execute(claims.claim([pick], -SECOND))
    assert [row.id for row in db.execute(leases.requeue_expired())] == [job.id]
    assert db.execute(leases.accept([leases.HeldLease(lease, "w1")])).all() == []
    assert db.execute(leases.requeue_expired()).all() == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE edge.worker_desired SET maintenance = true",
        "UPDATE edge.worker_desired SET shutdown = true",
        "UPDATE edge.worker SET cordon_reason = 'too old'",
        "UPDATE edge.worker SET queues = '{other}'",
        "UPDATE edge.worker SET team = 'blue'",
        "UPDATE edge.worker SET maintenance_acknowledged = true",
        "UPDATE edge.worker SET terminating = true",
        "UPDATE edge.worker SET session_id = gen_random_uuid()",
    ],
)
def test_cordon_is_enforced_by_the_claim(db: Connection, change: str) -> None:
    worker, job = register(db), new_job()
    db.execute(jobs.enqueue(job))
    db.execute(text(change))
    assert claim(db, job, worker) is None
    assert state(db, job).state == "queued"


def test_claim_waits_for_a_maintenance_request_under_way(database: str) -> None:
    """A request that was begun before the claim and committed during it still keeps the job from the worker."""
    made = engine.make_engine(database)
    with made.connect() as admin, made.connect() as dispatcher, made.connect() as watcher:
        worker, job = register(admin), new_job()
        admin.execute(jobs.enqueue(job))
        admin.commit()
        admin.execute(text("UPDATE edge.worker_desired SET maintenance = true"))
        pid = dispatcher.execute(text("SELECT pg_backend_pid()")).scalar_one()

        claimed: list[UUID | None] = []
        thread = threading.Thread(target=lambda: claimed.append(claim(dispatcher, job, worker)))
        thread.start()
        blocked = text("SELECT cardinality(pg_blocking_pids(:pid)) > 0").bindparams(pid=pid)
        while not watcher.execute(blocked).scalar_one():
            assert thread.is_alive(), "the claim did not wait for the request"
        admin.commit()
        thread.join(30)
        dispatcher.rollback()
    assert claimed == [None]


def demand(**changes: Any) -> claims.Demand:
    return dataclasses.replace(claims.Demand(queue="default", team=None, fits=4, holds=4, limit=10), **changes)


def test_candidates_come_in_order_and_fit(db: Connection) -> None:
    low, high, large = new_job(), new_job(priority=5), new_job(slots=5, priority=9)
    callback = new_job(kind="callback", rank=0, priority=0)
    for job in (low, high, large, callback, new_job(team="blue"), new_job(queue="other")):
        db.execute(jobs.enqueue(job))
    found = db.execute(claims.candidates([demand()])).all()
    assert [row.id for row in found] == [callback.id, high.id, low.id]


def test_candidates_pass_over_rows_of_another_replica(database: str) -> None:
    made = engine.make_engine(database)
    with made.connect() as one, made.connect() as other:
        first, second = new_job(priority=2), new_job(priority=1)
        one.execute(jobs.enqueue(first))
        one.execute(jobs.enqueue(second))
        one.commit()
        assert [row.id for row in one.execute(claims.candidates([demand(limit=1)]))] == [first.id]
        assert [row.id for row in other.execute(claims.candidates([demand(limit=1)]))] == [second.id]


def test_starving_finds_the_large_job_that_waited(db: Connection) -> None:
    db.execute(jobs.enqueue(new_job(slots=4)))
    db.execute(jobs.enqueue(new_job(slots=9)))
    found = db.execute(claims.starving([demand(fits=3)], timedelta(0))).all()
    assert [row.slots for row in found] == [4]
    assert db.execute(claims.starving([demand(fits=3)], timedelta(hours=1))).all() == []


def test_revoke_and_adopt(db: Connection) -> None:
    worker, job, other = register(db), new_job(), new_job()
    db.execute(jobs.enqueue(job))
    db.execute(jobs.enqueue(other))
    lease = claim(db, job, worker)
    assert lease
    assert db.execute(jobs.revoke(job.id)).one().worker_name == "w1"
    assert db.execute(jobs.revoke(job.id)).all() == []
    assert db.execute(leases.lease_states([lease, uuid4()])).all() == [(lease, "w1", "removed", 1)]
    assert [row.id for row in db.execute(jobs.adopt("2", [job.id, other.id]))] == [other.id]


def test_adoption_tells_finished_jobs_again(db: Connection) -> None:
    worker, job = register(db), new_job()
    db.execute(jobs.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    db.execute(leases.report([report(lease, "w1", "failed")]))
    assert len(db.execute(jobs.take_events("1")).all()) == 1
    db.execute(jobs.adopt("2", [job.id]))
    assert [row.state for row in db.execute(jobs.take_events("2"))] == ["failed"]


def test_silent_worker_loses_its_running_jobs_once(db: Connection) -> None:
    worker, running, leased = register(db), new_job(), new_job()
    for job in (running, leased):
        db.execute(jobs.enqueue(job))
    lease = claim(db, running, worker)
    assert lease
    db.execute(leases.accept([leases.HeldLease(lease, "w1")]))
    assert claim(db, leased, worker)
    db.execute(text("UPDATE edge.worker SET last_heartbeat = now() - interval '31 seconds'"))
    assert db.execute(workers.lose_silent(30 * SECOND)).one() == ("w1", 1)
    assert db.execute(workers.lose_silent(30 * SECOND)).all() == []
    row = state(db, running)
    assert row.state == "lost"
    assert row.error.startswith("edge worker w1 lost at 20")
    assert state(db, leased).state == "leased"


def test_name_of_a_live_worker_is_refused_to_another_identity(db: Connection) -> None:
    worker = register(db)
    stranger = dataclasses.replace(worker, identity=uuid4())
    assert db.execute(workers.register(stranger, 30 * SECOND)).all() == []
    assert len(db.execute(workers.register(worker, 30 * SECOND)).all()) == 1
    db.execute(workers.say_bye("w1", worker.session_id))
    assert len(db.execute(workers.register(stranger, 30 * SECOND)).all()) == 1


def test_heartbeat_of_an_old_session_is_not_written(db: Connection) -> None:
    worker = register(db)
    beat = workers.Beat("w1", worker.session_id, 1, 3, False, False, {"load1": 0.5})
    old = dataclasses.replace(beat, session_id=uuid4())
    assert db.execute(workers.heartbeats([old])).all() == []
    assert [row.name for row in db.execute(workers.heartbeats([beat]))] == ["w1"]
    row = db.execute(workers.get("w1")).one()
    assert (row.jobs_active, row.sysinfo) == (1, {"load1": 0.5})


def test_log_is_append_only_at_its_end(db: Connection) -> None:
    worker, job = register(db), new_job()
    db.execute(jobs.enqueue(job))
    lease = claim(db, job, worker)
    assert lease

    def append(start: int, data: bytes, skipped: int = 0, who: str = "w1") -> int | None:
        chunk = logs.LogChunk(lease, who, start, skipped, data)
        row = db.execute(logs.append([chunk])).one_or_none()
        return None if row is None else row.log_bytes

    assert append(0, b"abc") == 3
    assert append(0, b"abc") is None
    assert append(5, b"gap") is None
    assert append(3, b"foreign", who="w2") is None
    assert append(10, b"xyz", skipped=7) == 13
    assert [tuple(row) for row in db.execute(logs.chunks_after(lease, 0, 10))] == [(0, b"abc"), (10, b"xyz")]
    assert db.execute(logs.leases_of_path(job.log_path or "")).one().id == lease


def test_the_statements_follow_the_transition_table(db: Connection) -> None:
    """Each event from each state changes the row exactly where `TRANSITIONS` says so."""
    worker = register(db)
    for start in JobState:
        for event in JobEvent:
            job, lease = new_job(), uuid4()
            db.execute(jobs.enqueue(job))
            _force(db, job, start, lease)
            _apply(db, job, event, lease, worker)
            assert state(db, job).state == TRANSITIONS.get((start, event), start), (start, event)
            db.rollback()
            worker = register(db)


def _force(db: Connection, job: jobs.NewJob, start: JobState, lease: UUID) -> None:
    finished = start in FINISHED_STATES
    db.execute(
        text(
            "UPDATE edge.job SET state = :state, lease_id = :lease, worker_name = :worker,"
            " lease_expires_at = CASE WHEN :state = 'leased' THEN now() - interval '1 s' END,"
            " finished_at = CASE WHEN :finished THEN now() END,"
            " workload = CASE WHEN :finished THEN NULL ELSE workload END WHERE id = :id"
        ).bindparams(
            state=start.value,
            lease=None if start is JobState.QUEUED else lease,
            worker=None if start is JobState.QUEUED else "w1",
            finished=finished,
            id=job.id,
        )
    )


def _apply(db: Connection, job: jobs.NewJob, event: JobEvent, lease: UUID, worker: workers.Registration) -> None:
    if event is JobEvent.CLAIM:
        claim(db, job, worker)
    elif event is JobEvent.ACCEPT:
        db.execute(leases.accept([leases.HeldLease(lease, "w1")]))
    elif event is JobEvent.EXPIRE:
        db.execute(leases.requeue_expired())
    elif event in (JobEvent.REPORT_SUCCESS, JobEvent.REPORT_FAILURE):
        db.execute(leases.report([report(lease, "w1", "succeeded" if event is JobEvent.REPORT_SUCCESS else "failed")]))
    elif event is JobEvent.ENQUEUE:
        db.execute(jobs.enqueue(job))
    elif event is JobEvent.LOSE:
        db.execute(leases.lose([lease], "gone"))
    elif event is JobEvent.REVOKE:
        db.execute(jobs.revoke(job.id))


def test_purge_keeps_what_the_scheduler_has_not_asked_for_but_not_for_ever(db: Connection) -> None:
    ages = {"told_new": 1, "told_old": 3, "untold_old": 3, "untold_ancient": 20}
    for name, hours in ages.items():
        job = new_job(task_id=name)
        db.execute(jobs.enqueue(job))
        _force(db, job, JobState.SUCCEEDED, uuid4())
        db.execute(
            text(
                "UPDATE edge.job SET finished_at = now() - make_interval(hours => :hours), event_pending = :pending"
                " WHERE id = :id"
            ).bindparams(hours=hours, pending=name.startswith("untold"), id=job.id)
        )
    db.execute(jobs.purge_finished(timedelta(hours=2)))
    left = db.execute(text("SELECT task_id FROM edge.job ORDER BY task_id")).scalars().all()
    assert left == ["told_new", "untold_old"]


def test_still_owned_are_those_that_the_scheduler_will_hear_of(db: Connection) -> None:
    waits, told, untold, adopted = (new_job() for _ in range(4))
    for job in (waits, told, untold, adopted):
        db.execute(jobs.enqueue(job))
    for job in (told, untold):
        _force(db, job, JobState.FAILED, uuid4())
    db.execute(text("UPDATE edge.job SET event_pending = true WHERE id = :id").bindparams(id=untold.id))
    db.execute(jobs.adopt("2", [adopted.id]))
    ids = [job.id for job in (waits, told, untold, adopted)]
    assert set(db.execute(jobs.still_owned("1", ids)).scalars()) == {waits.id, untold.id}
