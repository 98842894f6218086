"""What is deleted after a time, and what is not."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, text

from edge_store import retention
from edge_store.database.statement import Statement, rows, run
from edge_store.jobs import leases, logs, scheduling
from edge_testing.database.records import LOG_LIMIT, claim, new_job, one, register, report

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def purge(db: Connection, kind: Statement[retention.Deleted]) -> int:
    return one(db, kind).deleted


def leased_log(db: Connection, *, finished: bool) -> UUID:
    """Return a lease with a log that was granted two days ago, of a job that runs or has finished."""
    worker, job = register(db, f"w-{uuid4()}"), new_job()
    run(db, scheduling.enqueue(job))
    lease = claim(db, job, worker)
    assert lease
    rows(db, leases.accept([leases.HeldLease(lease, worker.name)]))
    rows(db, logs.append([logs.LogChunk(lease, worker.name, 0, 0, b"line")], LOG_LIMIT))
    if finished:
        rows(db, leases.report([report(lease, worker.name)]))
    db.execute(text("UPDATE edge.lease SET granted_at = now() - interval '2 days'"))
    return lease


def test_the_log_of_a_running_job_is_kept_however_old_it_is(db: Connection) -> None:
    """Its next piece would not fit anywhere, and the worker would be told that its lease is stale."""
    running, ended = leased_log(db, finished=False), leased_log(db, finished=True)
    assert purge(db, retention.leases(DAY)) == 1
    left = db.execute(text("SELECT id FROM edge.lease")).scalars().all()
    with_log = db.execute(text("SELECT DISTINCT lease_id FROM edge.log")).scalars().all()
    assert (left, with_log) == ([running], [running])
    assert ended not in left


def test_a_batch_of_large_logs_has_fewer_leases(db: Connection) -> None:
    """Deleting 50 logs of 64 MiB at once could exceed the time limit of a statement, at each try again."""
    for _ in range(4):
        leased_log(db, finished=True)
    db.execute(text("UPDATE edge.lease SET log_bytes = 150 * 1024 * 1024"))
    assert [purge(db, retention.leases(DAY)) for _ in range(3)] == [2, 2, 0]
    leased_log(db, finished=True)
    db.execute(text("UPDATE edge.lease SET log_bytes = 10::bigint << 30"))
    assert purge(db, retention.leases(DAY)) == 1


def test_purge_keeps_jobs_with_pending_events_longer_but_not_forever(db: Connection) -> None:
    ages = {"taken_new": 1, "taken_old": 3, "pending_old": 3, "pending_ancient": 20}
    for name, hours in ages.items():
        job = new_job(task_id=name)
        run(db, scheduling.enqueue(job))
        finish(db, job)
        db.execute(
            text(
                "UPDATE edge.job SET finished_at = now() - make_interval(hours => :hours), event_pending = :pending"
                " WHERE id = :id"
            ).bindparams(hours=hours, pending=name.startswith("pending"), id=job.id)
        )
    assert purge(db, retention.finished_jobs(2 * HOUR)) == 2
    left = db.execute(text("SELECT task_id FROM edge.job ORDER BY task_id")).scalars().all()
    assert left == ["pending_old", "taken_new"]


def finish(db: Connection, job: scheduling.NewJob) -> None:
    worker = register(db, f"w-{job.task_id}")
    lease = claim(db, job, worker)
    assert lease
    rows(db, leases.report([report(lease, worker.name)]))


def test_a_batch_is_bounded(db: Connection) -> None:
    for _ in range(retention.LIMIT + 1):
        run(db, scheduling.enqueue(new_job()))
    db.execute(text("UPDATE edge.job SET queued_at = now() - interval '8 days'"))
    run(db, scheduling.enqueue(new_job()))
    kind = retention.orphaned_jobs(7 * DAY)
    assert [purge(db, kind) for _ in range(3)] == [retention.LIMIT, 1, 0]
    assert db.execute(text("SELECT count(*) FROM edge.job")).scalar_one() == 1


@pytest.mark.parametrize(
    ("ended", "deleted"),
    [
        ("expires_at = now() - interval '2 days'", 1),
        ("revoked_at = now() - interval '2 days'", 1),
        ("expires_at = now() - interval '1 hour'", 0),
        ("revoked_at = now() - interval '1 hour'", 0),
        ("created_at = now() - interval '9 years'", 0),
    ],
)
def test_credentials_and_join_tokens_go_long_after_their_end(db: Connection, ended: str, deleted: int) -> None:
    db.execute(
        text(
            "INSERT INTO edge.credential (id, secret_hash, role, expires_at)"
            " VALUES (gen_random_uuid(), '\\x00', 'admin', now() + interval '1 day')"
        )
    )
    db.execute(
        text(
            "INSERT INTO edge.join_token (id, secret_hash, expires_at)"
            " VALUES (gen_random_uuid(), '\\x00', now() + interval '1 day')"
        )
    )
    db.execute(text(f"UPDATE edge.credential SET {ended}"))
    db.execute(text(f"UPDATE edge.join_token SET {ended}"))
    assert (purge(db, retention.credentials(DAY)), purge(db, retention.join_tokens(DAY))) == (deleted, deleted)
