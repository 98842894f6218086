"""The statements of a job's life, each against real PostgreSQL."""

import dataclasses
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from edge_protocol.job_state import FINISHED_STATES, TRANSITIONS, JobEvent, JobState
from edge_store.jobs import claims, leases, logs, scheduling
from edge_store.workers import agents
from edge_testing.database.records import SECOND, claim, new_job, register, report, state


def test_whole_life(db: Connection) -> None:
    worker, job = register(db), new_job()
    db.execute(scheduling.enqueue(job))
    assert (lease := claim(db, job, worker)) is not None
    assert db.execute(leases.accept([leases.HeldLease(lease, "w1")])).one().queue == "default"
    assert db.execute(leases.report([report(lease, "w1")])).one() == (lease, "w1", True)
    row = state(db, job)
    assert (row.state, row.workload, row.event_pending) == ("succeeded", None, True)
    assert [event.id for event in db.execute(scheduling.take_events("1"))] == [job.id]
    assert db.execute(scheduling.take_events("1")).all() == []


def test_repeated_accept_and_report_are_good(db: Connection) -> None:
    worker, job = register(db), new_job()
    db.execute(scheduling.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    for _ in range(2):
        assert len(db.execute(leases.accept([leases.HeldLease(lease, "w1")])).all()) == 1
    assert [row.fresh for row in db.execute(leases.report([report(lease, "w1")]))] == [True]
    assert [row.fresh for row in db.execute(leases.report([report(lease, "w1")]))] == [False]


def test_stale_or_foreign_lease_changes_nothing(db: Connection) -> None:
    worker, job = register(db), new_job()
    register(db, "w2")
    db.execute(scheduling.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    for held in (leases.HeldLease(uuid4(), "w1"), leases.HeldLease(lease, "w2")):
        assert db.execute(leases.accept([held])).all() == []
        assert db.execute(leases.report([report(held.lease_id, held.worker)])).all() == []
    assert state(db, job).state == "leased"


def test_enqueue_again_voids_the_old_lease(db: Connection) -> None:
    worker, job = register(db), new_job()
    db.execute(scheduling.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    db.execute(leases.accept([leases.HeldLease(lease, "w1")]))
    db.execute(scheduling.enqueue(dataclasses.replace(job, workload="{}")))
    assert db.execute(leases.report([report(lease, "w1")])).all() == []
    assert claim(db, job, worker) not in (None, lease)


def test_unaccepted_claim_goes_back(db: Connection) -> None:
    worker, job = register(db), new_job()
    db.execute(scheduling.enqueue(job))
    lease = uuid4()
    pick = claims.Pick(job.id, worker.name, worker.session_id, lease)
    db.execute(claims.claim([pick], -SECOND))
    assert [row.id for row in db.execute(leases.requeue_expired())] == [job.id]
    assert db.execute(leases.accept([leases.HeldLease(lease, "w1")])).all() == []
    assert db.execute(leases.requeue_expired()).all() == []


def test_revoke_and_adopt(db: Connection) -> None:
    worker, job, other = register(db), new_job(), new_job()
    db.execute(scheduling.enqueue(job))
    db.execute(scheduling.enqueue(other))
    lease = claim(db, job, worker)
    assert lease
    assert db.execute(scheduling.revoke(job.id)).one().worker_name == "w1"
    assert db.execute(scheduling.revoke(job.id)).all() == []
    assert db.execute(leases.lease_states([lease, uuid4()])).all() == [(lease, "w1", "removed", 1)]
    assert [row.id for row in db.execute(scheduling.adopt("2", [job.id, other.id]))] == [other.id]


def test_adoption_tells_finished_jobs_again(db: Connection) -> None:
    worker, job = register(db), new_job()
    db.execute(scheduling.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    db.execute(leases.report([report(lease, "w1", "failed")]))
    assert len(db.execute(scheduling.take_events("1")).all()) == 1
    db.execute(scheduling.adopt("2", [job.id]))
    assert [row.state for row in db.execute(scheduling.take_events("2"))] == ["failed"]


def test_silent_worker_loses_its_running_jobs_once(db: Connection) -> None:
    worker, running, leased = register(db), new_job(), new_job()
    for job in (running, leased):
        db.execute(scheduling.enqueue(job))
    lease = claim(db, running, worker)
    assert lease
    db.execute(leases.accept([leases.HeldLease(lease, "w1")]))
    assert claim(db, leased, worker)
    db.execute(text("UPDATE edge.worker SET last_heartbeat = now() - interval '31 seconds'"))
    assert db.execute(agents.lose_silent(30 * SECOND)).one() == ("w1", 1)
    assert db.execute(agents.lose_silent(30 * SECOND)).all() == []
    row = state(db, running)
    assert row.state == "lost"
    assert row.error.startswith("edge worker w1 lost at 20")
    assert state(db, leased).state == "leased"


def test_name_of_a_live_worker_is_refused_to_another_identity(db: Connection) -> None:
    worker = register(db)
    stranger = dataclasses.replace(worker, identity=uuid4())
    assert db.execute(agents.register(stranger, 30 * SECOND)).all() == []
    assert len(db.execute(agents.register(worker, 30 * SECOND)).all()) == 1
    db.execute(agents.say_bye("w1", worker.session_id))
    assert len(db.execute(agents.register(stranger, 30 * SECOND)).all()) == 1


def test_heartbeat_of_an_old_session_is_not_written(db: Connection) -> None:
    worker = register(db)
    beat = agents.Beat("w1", worker.session_id, 1, 3, False, False, {"load1": 0.5})
    old = dataclasses.replace(beat, session_id=uuid4())
    assert db.execute(agents.heartbeats([old])).all() == []
    assert [row.name for row in db.execute(agents.heartbeats([beat]))] == ["w1"]
    row = db.execute(agents.get("w1")).one()
    assert (row.jobs_active, row.sysinfo) == (1, {"load1": 0.5})


def test_log_is_append_only_at_its_end(db: Connection) -> None:
    worker, job = register(db), new_job()
    db.execute(scheduling.enqueue(job))
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
            db.execute(scheduling.enqueue(job))
            _force(db, job, start, lease)
            _apply(db, job, event, lease, worker)
            assert state(db, job).state == TRANSITIONS.get((start, event), start), (start, event)
            db.rollback()
            worker = register(db)


def _force(db: Connection, job: scheduling.NewJob, start: JobState, lease: UUID) -> None:
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


def _apply(db: Connection, job: scheduling.NewJob, event: JobEvent, lease: UUID, worker: agents.Registration) -> None:
    if event is JobEvent.CLAIM:
        claim(db, job, worker)
    elif event is JobEvent.ACCEPT:
        db.execute(leases.accept([leases.HeldLease(lease, "w1")]))
    elif event is JobEvent.EXPIRE:
        db.execute(leases.requeue_expired())
    elif event in (JobEvent.REPORT_SUCCESS, JobEvent.REPORT_FAILURE):
        db.execute(leases.report([report(lease, "w1", "succeeded" if event is JobEvent.REPORT_SUCCESS else "failed")]))
    elif event is JobEvent.ENQUEUE:
        db.execute(scheduling.enqueue(job))
    elif event is JobEvent.LOSE:
        db.execute(leases.lose([lease], "gone"))
    elif event is JobEvent.REVOKE:
        db.execute(scheduling.revoke(job.id))


def test_purge_keeps_what_the_scheduler_has_not_asked_for_but_not_for_ever(db: Connection) -> None:
    ages = {"told_new": 1, "told_old": 3, "untold_old": 3, "untold_ancient": 20}
    for name, hours in ages.items():
        job = new_job(task_id=name)
        db.execute(scheduling.enqueue(job))
        _force(db, job, JobState.SUCCEEDED, uuid4())
        db.execute(
            text(
                "UPDATE edge.job SET finished_at = now() - make_interval(hours => :hours), event_pending = :pending"
                " WHERE id = :id"
            ).bindparams(hours=hours, pending=name.startswith("untold"), id=job.id)
        )
    db.execute(scheduling.purge_finished(timedelta(hours=2)))
    left = db.execute(text("SELECT task_id FROM edge.job ORDER BY task_id")).scalars().all()
    assert left == ["told_new", "untold_old"]


def test_still_owned_are_those_that_the_scheduler_will_hear_of(db: Connection) -> None:
    waits, told, untold, adopted = (new_job() for _ in range(4))
    for job in (waits, told, untold, adopted):
        db.execute(scheduling.enqueue(job))
    for job in (told, untold):
        _force(db, job, JobState.FAILED, uuid4())
    db.execute(text("UPDATE edge.job SET event_pending = true WHERE id = :id").bindparams(id=untold.id))
    db.execute(scheduling.adopt("2", [adopted.id]))
    ids = [job.id for job in (waits, told, untold, adopted)]
    assert set(db.execute(scheduling.still_owned("1", ids)).scalars()) == {waits.id, untold.id}
