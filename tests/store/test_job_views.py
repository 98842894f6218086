"""Lists of jobs and the traffic of queues, as people see them."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Select, text

from edge_store.database.statement import rows, run
from edge_store.jobs import job_views, leases, scheduling
from edge_testing.database.records import claim, new_job, one, register, report

KEY: dict[str, Any] = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": 3, "try_number": 2}


@pytest.mark.parametrize("other", [{name: "x" if isinstance(value, str) else 9} for name, value in KEY.items()])
def test_a_task_instance_is_found_by_its_key(db: Connection, other: dict[str, Any]) -> None:
    for key in (KEY, {**KEY, **other}):
        run(db, scheduling.enqueue(new_job(**key)))
    (found,) = rows(db, job_views.jobs(9, conditions=job_views.JobFilter(**KEY)))
    assert {name: getattr(found, name) for name in KEY} == KEY


def test_several_states(db: Connection) -> None:
    worker = register(db)
    jobs = [new_job() for _ in range(3)]
    for job in jobs:
        run(db, scheduling.enqueue(job))
    held = [lease for job in jobs[1:] if (lease := claim(db, job, worker))]
    one(db, leases.report([report(held[0], "w1")]))
    states = job_views.JobFilter(states=["queued", "succeeded"])
    assert {row.state for row in rows(db, job_views.jobs(9, conditions=states))} == {"queued", "succeeded"}
    assert rows(db, job_views.jobs(9, conditions=job_views.JobFilter(states=[]))) == []
    (finished,) = rows(db, job_views.jobs(9, conditions=job_views.JobFilter(states=["succeeded"])))
    assert finished.lease_id == held[0]


@pytest.mark.parametrize(
    ("conditions", "index"),
    [
        (job_views.JobFilter(dag_id="d", run_id="r", task_id="t"), "ix_job_task"),
        (job_views.JobFilter(worker_name="w1"), "ix_job_worker"),
        (job_views.JobFilter(worker_name="w1", states=["leased", "running"]), "ix_job_holder"),
        (job_views.JobFilter(queue="q", states=["queued"]), "ix_job_claim"),
    ],
)
def test_an_index_finds_them(db: Connection, conditions: job_views.JobFilter, index: str) -> None:
    db.execute(
        text(
            "INSERT INTO edge.job (id, kind, state, queue, dag_id, run_id, task_id, owner, worker_name, lease_id,"
            " finished_at) SELECT gen_random_uuid(), 'task', 'succeeded', 'q' || i % 50, 'd' || i % 50, 'r' || i % 20,"
            " 't', '1', 'w' || i % 500, gen_random_uuid(), now() FROM generate_series(1, 20000) i"
        )
    )
    db.execute(text("ANALYZE edge.job"))
    statement = job_views.jobs(101, conditions=conditions).executable
    assert isinstance(statement, Select)
    compiled = statement.compile(db.engine, compile_kwargs={"literal_binds": True})
    plan = "\n".join(db.exec_driver_sql(f"EXPLAIN {compiled}").scalars())
    assert index in plan, plan


def test_traffic_counts_what_came_and_what_finished_lately(db: Connection) -> None:
    worker = register(db)
    jobs = [new_job() for _ in range(6)]
    for job in jobs:
        run(db, scheduling.enqueue(job))
    held = [lease for job in jobs[:4] if (lease := claim(db, job, worker))]
    for lease in held[:2]:
        one(db, leases.report([report(lease, "w1")]))
    one(db, scheduling.revoke(jobs[2].id))
    window = timedelta(minutes=5)
    assert rows(db, job_views.queue_traffic(window)) == [job_views.QueueTraffic("default", arrived=6, finished=2)]
    # One came long ago and finished now; one waits since long ago.
    old = [jobs[0].id, jobs[5].id]
    db.execute(text("UPDATE edge.job SET queued_at = now() - interval '1 h' WHERE id = ANY (:ids)"), {"ids": old})
    assert rows(db, job_views.queue_traffic(window)) == [job_views.QueueTraffic("default", arrived=4, finished=2)]
    db.execute(text("UPDATE edge.job SET finished_at = now() - interval '1 h' WHERE finished_at IS NOT NULL"))
    assert rows(db, job_views.queue_traffic(window)) == [job_views.QueueTraffic("default", arrived=2, finished=0)]
