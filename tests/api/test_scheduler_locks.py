"""A scheduler's transaction holds jobs, for as long as it takes: the edge API never waits for them.

Airflow queues resumed tasks one by one in one transaction, in an order of its own. A statement of the edge API that
waited for one of these jobs while it holds another would make a deadlock, in which PostgreSQL may end the scheduler's
transaction.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from edge_store.database import engine
from edge_store.database.statement import run
from edge_store.jobs import scheduling
from edge_testing.database.db import Db
from edge_testing.database.records import new_job
from edge_testing.edge_api.credentials import enroll
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.session import frame
from edge_testing.edge_api.sync import Caller
from edge_testing.waiting import until


@contextmanager
def transaction(db: Db) -> Iterator[Connection]:
    """A transaction like the scheduler's, which is committed at the end."""
    made = engine.make_engine(db.url)
    with made.begin() as connection:
        yield connection
    made.dispose()


def resume(connection: Connection, job: UUID) -> None:
    """Queue a job again, as a scheduler does with a task that was deferred."""
    run(connection, scheduling.enqueue(new_job(id=job)))


def waits_for_a_lock(db: Db) -> bool:
    return bool(
        db.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
    )


@pytest.mark.parametrize("last", [0, 2])
async def test_a_scheduler_that_resumes_tasks_is_no_victim_of_a_batch_of_reports(
    api: ApiProcess, db: Db, last: int
) -> None:
    """`last`: the job that the edge API would lock last; in which order it locks is not for the test to know."""
    worker = Caller(api.url, await enroll(api.url, db.url, "w1"))
    await worker.begin(concurrency=3)
    jobs = db.enqueue(3)
    leases = []
    for _ in jobs:
        lease = (await worker.expect("job"))["lease_id"]
        await worker.expect("ack", frame("accept", lease_id=lease), of="accept", lease_id=lease)
        leases.append(UUID(lease))
    job_of = {db.job(job).lease_id: job for job in jobs}
    first_job, between, last_job = (job_of[leases[index]] for index in (2 - last, 1, last))
    with transaction(db) as scheduler:
        resume(scheduler, last_job)
        with transaction(db) as other:
            other.execute(text("SELECT 1 FROM edge.job WHERE id = :id FOR UPDATE").bindparams(id=between))
            # One batch: those of one call are handled together.
            await worker.call(*[frame("report", lease_id=str(lease), outcome="succeeded") for lease in leases])
            await until(lambda: waits_for_a_lock(db) or db.state(first_job) == "succeeded", "the reports are written")
            resumed = asyncio.create_task(asyncio.to_thread(resume, scheduler, first_job), name="resume")
            # The scheduler has waited for most of `deadlock_timeout` when the deadlock is complete.
            await asyncio.wait({resumed}, timeout=0.7)
        await resumed
    assert {db.state(first_job), db.state(last_job)} == {"queued"}
    await worker.expect("fenced", lease_id=str(leases[last]))
    await until(lambda: db.state(between) == "succeeded", "the report of the job between has counted")
