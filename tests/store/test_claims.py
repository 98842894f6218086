"""Which jobs a claim takes, and which workers get none."""

import dataclasses
import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from edge_store.database import engine
from edge_store.database.statement import rows, run
from edge_store.jobs import claims, scheduling
from edge_testing.database.records import claim, new_job, register, state


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
    run(db, scheduling.enqueue(job))
    db.execute(text(change))
    assert claim(db, job, worker) is None
    assert state(db, job).state == "queued"


def test_claim_waits_for_a_maintenance_request_under_way(database: str) -> None:
    """A request that started before the claim and committed during it still prevents the claim."""
    made = engine.make_engine(database)
    with made.connect() as admin, made.connect() as dispatcher, made.connect() as watcher:
        worker, job = register(admin), new_job()
        run(admin, scheduling.enqueue(job))
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
        run(db, scheduling.enqueue(job))
    found = rows(db, claims.candidates([demand()]))
    assert [row.id for row in found] == [callback.id, high.id, low.id]


def test_candidates_pass_over_rows_of_another_replica(database: str) -> None:
    made = engine.make_engine(database)
    with made.connect() as one, made.connect() as other:
        first, second = new_job(priority=2), new_job(priority=1)
        run(one, scheduling.enqueue(first))
        run(one, scheduling.enqueue(second))
        one.commit()
        assert [row.id for row in rows(one, claims.candidates([demand(limit=1)]))] == [first.id]
        assert [row.id for row in rows(other, claims.candidates([demand(limit=1)]))] == [second.id]


def test_starving_finds_the_large_job_that_waited(db: Connection) -> None:
    run(db, scheduling.enqueue(new_job(slots=4)))
    run(db, scheduling.enqueue(new_job(slots=9)))
    found = rows(db, claims.starving([demand(fits=3)], timedelta(0)))
    assert [row.slots for row in found] == [4]
    assert rows(db, claims.starving([demand(fits=3)], timedelta(hours=1))) == []
