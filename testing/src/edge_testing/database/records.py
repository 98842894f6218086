"""Jobs and workers for tests of the statements."""

import dataclasses
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, text

from edge_store.database.statement import Executor, RowT, Statement, first, rows
from edge_store.jobs import claims, leases, logs, scheduling
from edge_store.workers import agents

SECOND = timedelta(seconds=1)
LOG_LIMIT = logs.LogLimit(logs.MAX_BYTES, b"\n[truncated]\n")


def new_job(**changes: Any) -> scheduling.NewJob:
    """Return a job to queue; `changes` are fields of `NewJob`."""
    job = scheduling.NewJob(
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


def register(db: Connection, name: str = "w1", **changes: Any) -> agents.Registration:
    """Register the session of a worker with four slots; `changes` are fields of `Registration`."""
    new = agents.Registration(
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
    assert one(db, agents.register(new, 30 * SECOND)).name == name
    return new


def claim(db: Connection, job: scheduling.NewJob, worker: agents.Registration) -> UUID | None:
    """Claim a job for a worker, and return the lease; None where it can't be claimed."""
    lease = uuid4()
    pick = claims.Pick(job.id, worker.name, worker.session_id, lease)
    return None if first(db, claims.claim([pick], 10 * SECOND)) is None else lease


def state(db: Connection, job: scheduling.NewJob) -> Row[Any]:
    """Return the row of a job."""
    return db.execute(text("SELECT * FROM edge.job WHERE id = :id").bindparams(id=job.id)).one()


def one(db: Executor, statement: Statement[RowT]) -> RowT:
    """Run a statement and return its only row."""
    (row,) = rows(db, statement)
    return row


def report(lease: UUID, worker: str, outcome: Any = "succeeded") -> leases.JobReport:
    """Return a report that ends a job."""
    return leases.JobReport(lease, worker, outcome, 0, None)
