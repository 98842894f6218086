"""The statements of a job's life, each against real PostgreSQL."""

import dataclasses
from random import Random
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from edge_protocol.job_state import FINISHED_STATES, TRANSITIONS, JobEvent, JobState
from edge_store.database.statement import first, rows, run
from edge_store.jobs import claims, leases, logs, scheduling
from edge_store.schema import platform
from edge_store.workers import agents, worker_views
from edge_testing.database.records import LOG_LIMIT, SECOND, claim, new_job, one, register, report, state


def test_whole_life(db: Connection) -> None:
    worker, job = register(db), new_job()
    run(db, scheduling.enqueue(job))
    assert (lease := claim(db, job, worker)) is not None
    assert one(db, leases.accept([leases.HeldLease(lease, "w1")])).lease_id == lease
    assert one(db, leases.report([report(lease, "w1")])) == (lease, "w1", "finished")
    row = state(db, job)
    assert (row.state, row.workload, row.event_pending) == ("succeeded", None, True)
    assert [event.id for event in rows(db, scheduling.take_events("1"))] == [job.id]
    assert rows(db, scheduling.take_events("1")) == []


def test_repeated_accept_and_report_succeed(db: Connection) -> None:
    worker, job = register(db), new_job()
    run(db, scheduling.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    for _ in range(2):
        assert len(rows(db, leases.accept([leases.HeldLease(lease, "w1")]))) == 1
    assert [row.result for row in rows(db, leases.report([report(lease, "w1")]))] == ["finished"]
    assert [row.result for row in rows(db, leases.report([report(lease, "w1")]))] == ["repeated"]


def test_stale_or_foreign_lease_changes_nothing(db: Connection) -> None:
    worker, job = register(db), new_job()
    register(db, "w2")
    run(db, scheduling.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    for held in (leases.HeldLease(uuid4(), "w1"), leases.HeldLease(lease, "w2")):
        assert rows(db, leases.accept([held])) == []
        assert rows(db, leases.report([report(held.lease_id, held.worker)])) == []
    assert state(db, job).state == "leased"


def test_enqueue_again_voids_the_old_lease(db: Connection) -> None:
    worker, job = register(db), new_job()
    run(db, scheduling.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    rows(db, leases.accept([leases.HeldLease(lease, "w1")]))
    run(db, scheduling.enqueue(dataclasses.replace(job, workload="{}")))
    assert rows(db, leases.report([report(lease, "w1")])) == []
    assert claim(db, job, worker) not in (None, lease)


def test_unaccepted_claim_goes_back(db: Connection) -> None:
    worker, job = register(db), new_job()
    run(db, scheduling.enqueue(job))
    lease = uuid4()
    pick = claims.Pick(job.id, worker.name, worker.session_id, lease)
    rows(db, claims.claim([pick], -SECOND))
    assert [row.id for row in rows(db, leases.requeue_expired())] == [job.id]
    assert rows(db, leases.accept([leases.HeldLease(lease, "w1")])) == []
    assert rows(db, leases.requeue_expired()) == []


def test_revoke_and_adopt(db: Connection) -> None:
    worker, job, other = register(db), new_job(), new_job()
    run(db, scheduling.enqueue(job))
    run(db, scheduling.enqueue(other))
    lease = claim(db, job, worker)
    assert lease
    assert one(db, scheduling.revoke(job.id)).worker_name == "w1"
    assert rows(db, scheduling.revoke(job.id)) == []
    assert rows(db, leases.lease_states([lease, uuid4()])) == [(job.id, lease, "w1", "removed", 1)]
    assert [row.id for row in rows(db, scheduling.adopt("2", [job.id, other.id]))] == [other.id]


def test_adoption_reports_finished_jobs_again(db: Connection) -> None:
    worker, job = register(db), new_job()
    run(db, scheduling.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    rows(db, leases.report([report(lease, "w1", "failed")]))
    assert len(rows(db, scheduling.take_events("1"))) == 1
    rows(db, scheduling.adopt("2", [job.id]))
    assert [row.state for row in rows(db, scheduling.take_events("2"))] == ["failed"]


def test_a_stall_of_the_database_is_no_silence(db: Connection) -> None:
    worker, job = register(db), new_job()
    run(db, scheduling.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    rows(db, leases.accept([leases.HeldLease(lease, "w1")]))
    run(db, platform.canary(5 * SECOND))
    # Nothing was written for 40 seconds, neither a heartbeat nor the canary.
    db.execute(text("UPDATE edge.worker SET last_heartbeat = now() - interval '40 seconds'"))
    db.execute(text("UPDATE edge.platform SET updated_at = now() - interval '40 seconds' WHERE key = 'canary'"))
    assert rows(db, agents.lose_silent(30 * SECOND, 5 * SECOND)) == []
    # The first write after the stall may come before the heartbeats that waited for it.
    run(db, platform.canary(5 * SECOND))
    assert rows(db, agents.lose_silent(30 * SECOND, 5 * SECOND)) == []
    assert state(db, job).state == "running"
    db.execute(text("UPDATE edge.platform SET value = (now() - interval '31 seconds')::text WHERE key = 'canary'"))
    run(db, platform.canary(5 * SECOND))
    assert one(db, agents.lose_silent(30 * SECOND, 5 * SECOND)).jobs == 1


def test_a_session_that_is_not_the_current_one_loses_nothing(db: Connection) -> None:
    """A hello or bye that comes late must not touch the tasks of the session that has followed."""
    old = register(db)
    worker = register(db, identity=old.identity)
    running, leased = new_job(), new_job()
    for job in (running, leased):
        run(db, scheduling.enqueue(job))
    lease = claim(db, running, worker)
    assert lease
    rows(db, leases.accept([leases.HeldLease(lease, "w1")]))
    assert claim(db, leased, worker)
    assert rows(db, leases.lose([leases.Loss(lease, old.session_id, "late")])) == []
    assert rows(db, leases.give_up("w1", old.session_id, "late")) == []
    assert (state(db, running).state, state(db, leased).state) == ("running", "leased")
    given_up = {row.id: row.state for row in rows(db, leases.give_up("w1", worker.session_id, "stopped"))}
    assert given_up == {running.id: "lost", leased.id: "queued"}


def test_silent_worker_loses_its_running_jobs_once(db: Connection) -> None:
    worker, running, leased = register(db), new_job(), new_job()
    for job in (running, leased):
        run(db, scheduling.enqueue(job))
    lease = claim(db, running, worker)
    assert lease
    rows(db, leases.accept([leases.HeldLease(lease, "w1")]))
    assert claim(db, leased, worker)
    db.execute(text("UPDATE edge.worker SET last_heartbeat = now() - interval '31 seconds'"))
    run(db, platform.canary(5 * SECOND))
    assert one(db, agents.lose_silent(30 * SECOND, SECOND)) == ("w1", 1, 1)
    assert rows(db, agents.lose_silent(30 * SECOND, SECOND)) == []
    row = state(db, running)
    assert row.state == "lost"
    assert row.error.startswith("edge worker w1 lost at 20")
    assert state(db, leased).state == "leased"


def test_name_of_a_live_worker_is_refused_to_another_identity(db: Connection) -> None:
    worker = register(db)
    stranger = dataclasses.replace(worker, identity=uuid4())
    assert rows(db, agents.register(stranger, 30 * SECOND)) == []
    assert len(rows(db, agents.register(worker, 30 * SECOND))) == 1
    run(db, agents.disconnect("w1", worker.session_id))
    assert len(rows(db, agents.register(stranger, 30 * SECOND))) == 1


def test_heartbeat_of_an_old_session_is_not_written(db: Connection) -> None:
    worker = register(db)
    beat = agents.Beat("w1", worker.session_id, 1, 3, False, False, {"load1": 0.5})
    old = dataclasses.replace(beat, session_id=uuid4())
    assert rows(db, agents.heartbeats([old])) == []
    assert [row.name for row in rows(db, agents.heartbeats([beat]))] == ["w1"]
    row = one(db, worker_views.one_worker("w1"))
    assert (row.jobs_active, row.sysinfo) == (1, {"load1": 0.5})


def test_log_is_append_only_at_its_end(db: Connection) -> None:
    worker, job = register(db), new_job()
    run(db, scheduling.enqueue(job))
    lease = claim(db, job, worker)
    assert lease

    def append(start: int, data: bytes, skipped: int = 0, who: str = "w1") -> int | None:
        chunk = logs.LogChunk(lease, who, start, skipped, data)
        row = first(db, logs.append([chunk], LOG_LIMIT))
        return None if row is None else row.log_bytes

    assert append(0, b"abc") == 3
    assert append(0, b"abc") is None
    assert append(5, b"gap") is None
    assert append(3, b"foreign", who="w2") is None
    assert append(10, b"xyz", skipped=7) == 13
    assert [tuple(row) for row in rows(db, logs.chunks(lease, 0, logs.OPEN_END, 10))] == [(0, b"abc"), (10, b"xyz")]
    assert one(db, logs.leases_of_path(job.log_path or "")).id == lease


def test_of_a_log_beyond_its_limit_only_the_end_is_stored(db: Connection) -> None:
    """Whether it grows by large chunks or small ones, and also if the limit is lowered meanwhile."""
    worker = register(db)
    tail, notice = logs.TAIL_BYTES, LOG_LIMIT.notice
    written: dict[UUID, bytes] = {}
    random = Random(1)  # noqa: S311
    limit = dataclasses.replace(LOG_LIMIT, max_bytes=100_000)

    def grow(size: int) -> None:
        chunks = []
        for lease, data in written.items():
            new = random.randbytes(size)
            chunks.append(logs.LogChunk(lease, "w1", random.choice((len(data), logs.AT_END)), 0, new))
            written[lease] = data + new
        before = {lease: stored(lease) for lease in written}
        for row in rows(db, logs.append(chunks, limit)):
            old, new_size = len(written[row.lease_id]) - size, len(stored(row.lease_id))
            assert row.log_bytes == old + size
            assert row.truncated == (notice not in before[row.lease_id] and notice in stored(row.lease_id))
            assert size - row.discarded == new_size - len(before[row.lease_id]) - row.truncated * len(notice)

    def stored(lease: UUID) -> bytes:
        return b"".join(chunk.data for chunk in rows(db, logs.chunks(lease, 0, logs.OPEN_END, 100_000)))

    def check() -> None:
        for lease, data in written.items():
            head, _, end = stored(lease).partition(notice)
            assert head == data[: limit.max_bytes]
            assert data.endswith(end)
            assert tail <= len(end) <= 2 * tail

    for _ in range(2):
        job = new_job(id=uuid4())
        run(db, scheduling.enqueue(job))
        lease = claim(db, job, worker)
        assert lease
        written[lease] = b""
    for size in (40_000, 60_000):
        grow(size)
    assert [stored(lease) for lease in written] == list(written.values())  # exactly at the limit
    for size in (5, 300_000, 1, 2_000, 70_000, *([3_000] * 100), 1_000_000):
        grow(size)
        if len(next(iter(written.values()))) > limit.max_bytes + tail + len(notice):
            check()
    limit = dataclasses.replace(limit, max_bytes=50_000)
    for lease, data in written.items():
        rows(db, logs.append([logs.LogChunk(lease, "w1", len(data), 0, b"last words")], limit))
        assert (stored(lease).count(notice), stored(lease)[-10:]) == (1, b"last words")


def test_the_statements_follow_the_transition_table(db: Connection) -> None:
    """Each event from each state changes the row exactly if `TRANSITIONS` allows it."""
    worker = register(db)
    for start in JobState:
        for event in JobEvent:
            job, lease = new_job(), uuid4()
            run(db, scheduling.enqueue(job))
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
        rows(db, leases.accept([leases.HeldLease(lease, "w1")]))
    elif event is JobEvent.EXPIRE:
        rows(db, leases.requeue_expired())
    elif event in (JobEvent.REPORT_SUCCESS, JobEvent.REPORT_FAILURE):
        rows(db, leases.report([report(lease, "w1", "succeeded" if event is JobEvent.REPORT_SUCCESS else "failed")]))
    elif event is JobEvent.ENQUEUE:
        run(db, scheduling.enqueue(job))
    elif event is JobEvent.LOSE:
        rows(db, leases.lose([leases.Loss(lease, worker.session_id, "gone")]))
    elif event is JobEvent.REVOKE:
        rows(db, scheduling.revoke(job.id))


def test_still_owned_are_jobs_that_have_or_will_have_an_event(db: Connection) -> None:
    waits, reported, unreported, adopted = (new_job() for _ in range(4))
    for job in (waits, reported, unreported, adopted):
        run(db, scheduling.enqueue(job))
    for job in (reported, unreported):
        _force(db, job, JobState.FAILED, uuid4())
    db.execute(text("UPDATE edge.job SET event_pending = true WHERE id = :id").bindparams(id=unreported.id))
    rows(db, scheduling.adopt("2", [adopted.id]))
    ids = [job.id for job in (waits, reported, unreported, adopted)]
    assert {job.id for job in rows(db, scheduling.still_owned("1", ids))} == {waits.id, unreported.id}
