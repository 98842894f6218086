"""Which worker gets which job: order, slots, teams, cordons, starvation; idle workers cost nothing."""

import asyncio
import time
from contextlib import AsyncExitStack

from sqlalchemy import text

from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import enroll
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import frame, heartbeat, session
from edge_testing.waiting import until


async def test_order_is_callbacks_then_priority_then_time(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    low, high = shared_db.enqueue(1, priority=1) + shared_db.enqueue(1, priority=9)
    [callback] = shared_db.enqueue(kind="callback", rank=0, priority=0)
    async with session(shared.url, credential, concurrency=1) as worker:
        order = []
        for _ in range(3):
            job = await worker.expect("job")
            order.append(job["job_id"])
            await worker.send(frame("accept", lease_id=job["lease_id"]))
            await worker.report(job["lease_id"])
    assert order == [str(callback), str(high), str(low)]


async def test_queues_and_teams_are_respected(shared: ApiProcess, shared_db: Db) -> None:
    blue = await enroll(shared.url, shared_db.url, "w1", "--team", "blue", "--queues", "press")
    plain = await enroll(shared.url, shared_db.url, "w2", "--queues", "press")
    [team_job] = shared_db.enqueue(queue="press", team="blue")
    [common] = shared_db.enqueue(queue="press")
    [foreign] = shared_db.enqueue(queue="paint")
    async with (
        session(shared.url, blue, queues=["press", "paint"]) as one,
        session(shared.url, plain, name="w2", queues=["press", "paint"]) as other,
    ):
        await one.expect("job", job_id=team_job)
        await other.expect("job", job_id=common)
        assert (one.has("job", job_id=common), other.has("job", job_id=team_job)) == (False, False)
    assert shared_db.state(foreign) == "queued"


async def test_work_is_spread_over_the_least_loaded(shared: ApiProcess, shared_db: Db) -> None:
    names = ["w1", "w2", "w3"]
    credentials = [await enroll(shared.url, shared_db.url, name) for name in names]
    async with (
        session(shared.url, credentials[0], name="w1", concurrency=2) as one,
        session(shared.url, credentials[1], name="w2", concurrency=2) as two,
        session(shared.url, credentials[2], name="w3", concurrency=2) as three,
    ):
        shared_db.enqueue(3)
        for worker in (one, two, three):
            await worker.accept()


async def test_a_job_waits_for_as_many_slots_as_it_needs(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential, concurrency=4) as worker:
        shared_db.enqueue(2)
        leases = [await worker.accept(), await worker.accept()]
        [large] = shared_db.enqueue(slots=3)
        await worker.report(leases[0])
        await worker.expect("job", job_id=large, slots=3)
        assert worker.seen[-1]["job_id"] == str(large)


async def test_a_large_job_does_not_starve(start_api: StartApi, db: Db) -> None:
    api = await start_api(starvation_patience_s=0.5, tick_s=0.1)
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential, concurrency=4) as worker:
        db.enqueue(4)
        leases = [await worker.accept() for _ in range(4)]
        [large] = db.enqueue(slots=4)
        small = db.enqueue(400)
        # Each ended task is replaced by a small one, until the large one has waited long enough.
        while leases:
            await worker.report(leases.pop(0))
            try:
                leases.append(await asyncio.wait_for(worker.accept(), 0.5))
            except TimeoutError:
                continue
            if worker.has("job", job_id=large):
                break
        assert worker.has("job", job_id=large)
        assert db.state(small[-1]) == "queued"


async def test_maintenance_and_shutdown_stop_jobs_at_once(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        shared_db.set_desired("w1", maintenance=True)
        [job] = shared_db.enqueue()
        desired = await worker.expect("desired", maintenance=True)
        await worker.send(heartbeat(desired_version=desired["version"], maintenance_acknowledged=True))
        shared_db.set_desired("w1", maintenance=False)
        desired = await worker.expect("desired", maintenance=False)
        # It gets no jobs until it acknowledges that it has left maintenance.
        assert shared_db.state(job) == "queued"
        await worker.send(heartbeat(desired_version=desired["version"]))
        await worker.expect("job", job_id=job)


async def test_desired_state_changes_queues_and_slots(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1", "--queues", "a,b")
    async with session(shared.url, credential, concurrency=1) as worker:
        shared_db.set_desired("w1", queues_added=["c"], queues_removed=["a"], concurrency=2)
        desired = await worker.expect("desired")
        assert (desired["queues"], desired["concurrency"]) == (["b", "c"], 2)
        row = shared_db.worker("w1")
        assert (row.queues, row.concurrency) == (["b", "c"], 2)
        [removed] = shared_db.enqueue(queue="a")
        two = shared_db.enqueue(2, queue="c")
        assert {await worker.accept(), await worker.accept()}
        assert {shared_db.state(job) for job in two} == {"running"}
        assert shared_db.state(removed) == "queued"
        # A worker that has not applied its desired state gets it again.
        await worker.send(heartbeat(desired_version=desired["version"] - 1))
        assert await worker.expect("desired") == desired


async def test_a_host_in_maintenance_gets_nothing(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    shared_db.enqueue()
    async with session(shared.url, credential, maintenance=True, maintenance_comment="new disk") as worker:
        assert worker.has("desired", maintenance=True, maintenance_comment="new disk")
        await worker.send(heartbeat())
        await until(lambda: shared_db.worker("w1").initialised, "the heartbeat is written")
        assert not worker.has("job")


async def test_idle_workers_cost_no_query(start_api: StartApi, db: Db) -> None:
    """One query per tick and process, however many workers wait."""
    api = await start_api(tick_s=0.2)
    async with AsyncExitStack() as stack:
        for name in ("w1", "w2", "w3", "w4", "w5"):
            credential = await enroll(api.url, db.url, name)
            await stack.enter_async_context(session(api.url, credential, name=name))
        before, began = await looks(api), time.monotonic()
        await until(lambda: looks_after(api, before, 10), "ten looks")
        # Five workers with queries of their own would exceed this.
        assert time.monotonic() - began > 1.5


async def looks_after(api: ApiProcess, before: float, more: int) -> bool:
    return await looks(api) >= before + more


async def looks(api: ApiProcess) -> float:
    return await api.metric('airflow_edge_database_seconds_count{statement="dispatch"}')


async def test_jobs_queued_while_nobody_waits_are_found(shared: ApiProcess, shared_db: Db) -> None:
    [job] = shared_db.enqueue()
    for hint in ("job none", "nonsense", "credential x", "session w1", "cancel nobody", "desired nobody", "future x"):
        shared_db.rows(text("SELECT pg_notify('edge', :hint)").bindparams(hint=hint))
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        await worker.expect("job", job_id=job)
