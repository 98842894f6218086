"""The long-poll transport: the same sessions, by calls to any replica."""

import asyncio

from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import enroll
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import frame, heartbeat, hello, log_frame, session
from edge_testing.edge_api.sync import Caller
from edge_testing.waiting import until


async def test_a_whole_life(shared: ApiProcess, shared_db: Db) -> None:
    worker = Caller(shared.url, await enroll(shared.url, shared_db.url, "w1"))
    await worker.begin()
    poll = asyncio.create_task(worker.call(wait_s=20))
    [job] = shared_db.enqueue()
    [offer] = await poll
    lease = offer["lease_id"]
    await worker.expect("ack", frame("accept", lease_id=lease), of="accept", lease_id=lease)
    assert shared_db.state(job) == "running"
    await worker.expect("ack", log_frame(lease, 0, b"hello"), heartbeat(lease), of="log", offset=5)
    await worker.expect("ack", frame("report", lease_id=lease, outcome="succeeded"), of="report")
    assert shared_db.state(job) == "succeeded"
    await worker.call(frame("bye"))
    await until(lambda: shared_db.worker("w1").offline, "the worker is offline")


async def test_frames_can_be_sent_while_a_call_is_held(shared: ApiProcess, shared_db: Db) -> None:
    worker = Caller(shared.url, await enroll(shared.url, shared_db.url, "w1"))
    await worker.begin()
    shared_db.enqueue()
    lease = (await worker.expect("job"))["lease_id"]
    poll = asyncio.create_task(worker.call(wait_s=20))
    await worker.call(frame("accept", lease_id=lease))
    await poll
    await worker.expect("ack", of="accept", lease_id=lease)


async def test_a_worker_that_does_not_poll_gets_no_job(shared: ApiProcess, shared_db: Db) -> None:
    worker = Caller(shared.url, await enroll(shared.url, shared_db.url, "w1"))
    await worker.begin()
    assert await worker.call(wait_s=0.2) == []
    [job] = shared_db.enqueue()
    other = await enroll(shared.url, shared_db.url, "w2")
    async with session(shared.url, other, name="w2") as socket:
        await socket.expect("job", job_id=job)


async def test_calls_may_hit_any_replica(start_api: StartApi, db: Db) -> None:
    one, other = await start_api(), await start_api()
    worker = Caller(one.url, await enroll(one.url, db.url, "w1"))
    await worker.begin(concurrency=2)
    jobs = db.enqueue(6)
    places = [one.url, other.url]
    for turn in range(len(jobs)):
        here, there = places[turn % 2], places[(turn + 1) % 2]
        lease = (await worker.expect("job", url=here))["lease_id"]
        await worker.expect("ack", frame("accept", lease_id=lease), of="accept", lease_id=lease, url=there)
        report = frame("report", lease_id=lease, outcome="succeeded")
        await worker.expect("ack", report, of="report", lease_id=lease, url=here)
    assert {db.state(job) for job in jobs} == {"succeeded"}
    # Two slots were never exceeded, although two replicas offered jobs.
    assert db.rows("SELECT count(*) AS n FROM edge.lease")[0].n == len(jobs)
    db.set_desired("w1", maintenance=True)
    await worker.expect("desired", url=one.url, maintenance=True)


async def test_a_job_whose_answer_was_lost_comes_again_by_another_replica(start_api: StartApi, db: Db) -> None:
    one, other = await start_api(), await start_api()
    worker = Caller(one.url, await enroll(one.url, db.url, "w1"))
    await worker.begin(concurrency=1)
    [job] = db.enqueue()
    lost = await worker.expect("job")
    [again] = await worker.call(wait_s=2, url=other.url)
    assert again == lost
    await worker.expect("ack", frame("accept", lease_id=lost["lease_id"]), of="accept", url=other.url)
    assert db.state(job) == "running"
    assert db.rows("SELECT count(*) AS n FROM edge.lease")[0].n == 1


async def test_a_broken_call_takes_no_frames(shared: ApiProcess, shared_db: Db) -> None:
    worker = Caller(shared.url, await enroll(shared.url, shared_db.url, "w1"))
    await worker.begin()
    poll = asyncio.create_task(worker.call(wait_s=20))
    await until(lambda: shared_db.rows("SELECT 1 FROM edge.worker"), "the worker is there")
    poll.cancel()
    await asyncio.wait({poll})
    [job] = shared_db.enqueue()
    await worker.expect("job", job_id=job)


async def test_unknown_and_superseded_sessions(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    worker = Caller(shared.url, credential)
    worker.session_id = "6e1a6b62-57f8-4b0e-8dc6-4bd6c4e1b2ab"
    [answer] = await worker.call(heartbeat())
    assert (answer["code"], answer["fatal"]) == ("session_unknown", True)
    worker.session_id = None
    for empty in ((), (frame("from_the_future"),)):
        [answer] = await worker.call(*empty, wait_s=20)
        assert (answer["code"], answer["fatal"]) == ("hello_first", True)
    await worker.begin()
    poll = asyncio.create_task(worker.call(wait_s=20))
    async with session(shared.url, credential):
        [answer] = await poll
        assert answer["code"] == "superseded"
        [answer] = await worker.call(heartbeat())
        assert answer["code"] == "session_unknown"


async def test_bad_frames_are_reported(shared: ApiProcess, shared_db: Db) -> None:
    worker = Caller(shared.url, await enroll(shared.url, shared_db.url, "w1"))
    await worker.begin()
    found = await worker.call({"type": "accept"}, {"type": "unknown"}, log_frame("x", 0, b"y" * 1_100_000))
    assert [each["code"] for each in found] == ["bad_frame", "bad_frame"]
    assert (await worker.call(hello("w1")))[0]["code"] == "hello_twice"


async def test_a_report_after_the_replica_was_killed(start_api: StartApi, db: Db) -> None:
    api = await start_api()
    worker = Caller(api.url, await enroll(api.url, db.url, "w1"))
    await worker.begin()
    [job] = db.enqueue()
    lease = (await worker.expect("job"))["lease_id"]
    await worker.expect("ack", frame("accept", lease_id=lease), of="accept")
    api.kill()
    api.start()
    await asyncio.to_thread(api.wait_ready)
    await worker.expect("ack", frame("report", lease_id=lease, outcome="failed"), of="report")
    assert db.state(job) == "failed"
