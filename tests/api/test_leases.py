"""Leases across cut connections, restarts, silence and stale messages: a job runs once, or is reported lost."""

from uuid import uuid4

from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import enroll
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import connect, frame, heartbeat, hello, session
from edge_testing.waiting import until


async def test_a_job_whose_connection_was_cut_is_sent_again(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        [job] = shared_db.enqueue()
        lost = await worker.expect("job")
        await worker.cut()
    async with session(shared.url, credential) as worker:
        again = await worker.expect("job", lease_id=lost["lease_id"])
        assert again == lost
        await worker.send(frame("accept", lease_id=lost["lease_id"]))
        await worker.expect("ack", of="accept", lease_id=lost["lease_id"])
        await worker.report(lost["lease_id"])
    assert shared_db.state(job) == "succeeded"
    assert len(shared_db.rows("SELECT * FROM edge.lease")) == 1


async def test_a_job_that_nobody_accepts_goes_to_another(start_api: StartApi, db: Db) -> None:
    api = await start_api(accept_timeout_s=0.5)
    one, other = await enroll(api.url, db.url, "w1"), await enroll(api.url, db.url, "w2")
    async with session(api.url, one) as silent:
        [job] = db.enqueue()
        first = await silent.expect("job")
        await silent.cut()
    async with session(api.url, other, name="w2") as worker:
        second = await worker.expect("job", job_id=job)
        assert second["lease_id"] != first["lease_id"]
        await worker.send(frame("accept", lease_id=second["lease_id"]))
        await worker.expect("ack", of="accept")
        async with session(api.url, one, held=[first["lease_id"]]) as late:
            await late.expect("fenced", lease_id=first["lease_id"])
            await late.send(frame("accept", lease_id=first["lease_id"]))
            await late.expect("fenced", lease_id=first["lease_id"])
        await worker.report(second["lease_id"])
    assert db.state(job) == "succeeded"


async def test_a_worker_that_ignores_a_job_gets_its_slots_back(start_api: StartApi, db: Db) -> None:
    api = await start_api(accept_timeout_s=0.5, heartbeat_interval_s=1)
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential, concurrency=1) as worker:
        [job] = db.enqueue()
        ignored = await worker.expect("job")
        await until(lambda: db.state(job) == "queued", "the job is put back")
        await worker.send(heartbeat())
        again = await worker.expect("job", job_id=job)
        assert again["lease_id"] != ignored["lease_id"]


async def test_a_reconnect_keeps_running_tasks(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential, concurrency=2) as worker:
        [job, other] = shared_db.enqueue(2)
        leases = [await worker.accept(), await worker.accept()]
        await worker.cut()
    async with session(shared.url, credential, concurrency=2, held=leases) as worker:
        [third] = shared_db.enqueue()
        await worker.send(heartbeat(*leases), heartbeat(*leases))
        for lease in leases:
            await worker.report(lease)
        # The third was offered only once there was room for it, so both leases were counted.
        assert [found["job_id"] for found in worker.seen if found["type"] == "job"] in ([], [str(third)])
        await worker.report(await worker.accept())
    assert {shared_db.state(each) for each in (job, other, third)} == {"succeeded"}


async def test_a_restarted_worker_has_lost_its_tasks(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        [job] = shared_db.enqueue()
        await worker.accept()
        await worker.cut()
    async with session(shared.url, credential):
        row = shared_db.job(job)
    assert (row.state, row.error, row.event_pending) == (
        "lost",
        "edge worker w1 restarted without the task",
        True,
    )


async def test_a_task_that_two_heartbeats_leave_out_is_lost(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential, concurrency=1) as worker:
        [job] = shared_db.enqueue()
        await worker.accept()
        await worker.send(heartbeat())
        [barrier] = shared_db.enqueue(queue="none")
        await worker.send(frame("accept", lease_id=uuid4()))
        await worker.expect("fenced")
        assert shared_db.state(job) == "running"
        await worker.send(heartbeat())
        await until(lambda: shared_db.state(job) == "lost", "the job is lost")
        assert "sent no report" in shared_db.job(job).error
        # Its slot is free again.
        shared_db.enqueue()
        await worker.report(await worker.accept())
    assert shared_db.state(barrier) == "queued"


async def test_messages_with_a_stale_or_foreign_lease_are_fenced(shared: ApiProcess, shared_db: Db) -> None:
    one = await enroll(shared.url, shared_db.url, "w1")
    other = await enroll(shared.url, shared_db.url, "w2")
    async with session(shared.url, one) as worker, session(shared.url, other, name="w2", queues=["none"]) as thief:
        [job] = shared_db.enqueue()
        lease = await worker.accept()
        for stale in (str(uuid4()), lease):
            await thief.send(frame("report", lease_id=stale, outcome="failed"))
            await thief.expect("fenced", lease_id=stale)
            await thief.send(frame("accept", lease_id=stale))
            await thief.expect("fenced", lease_id=stale)
            await thief.send(heartbeat(stale))
        assert shared_db.state(job) == "running"
        await worker.report(lease)
        # A report whose acknowledgement was lost is repeated and acknowledged again.
        await worker.report(lease)


async def test_a_revoked_job_is_cancelled_and_its_report_fenced(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential, concurrency=1) as worker:
        [job] = shared_db.enqueue()
        lease = await worker.accept()
        shared_db.revoke(job)
        await worker.expect("cancel", lease_id=lease)
        # The process still occupies the slot: no other job is offered until it has ended.
        [following] = shared_db.enqueue()
        await worker.send(heartbeat(lease), frame("report", lease_id=lease, outcome="failed"))
        await worker.expect("fenced", lease_id=lease)
        await worker.expect("job", job_id=following)
    assert shared_db.state(job) == "removed"


async def test_a_job_queued_again_under_its_id_voids_the_old_lease(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        [job] = shared_db.enqueue()
        old = await worker.accept()
        shared_db.enqueue(id=job, try_number=2)
        new = await worker.accept()
        assert new != old
        await worker.send(frame("report", lease_id=old, outcome="failed"))
        await worker.expect("fenced", lease_id=old)
        await worker.report(new)
    assert shared_db.state(job) == "succeeded"


async def test_a_silent_worker_loses_its_jobs(start_api: StartApi, db: Db) -> None:
    api = await start_api(heartbeat_interval_s=0.3)
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential) as worker:
        [job] = db.enqueue()
        lease = await worker.accept()
        await worker.expect("error", code="silent")
        await until(lambda: db.state(job) == "lost", "the job is lost")
        assert db.job(job).error.startswith("edge worker w1 lost at 20")
    async with session(api.url, credential, held=[lease]) as worker:
        await worker.expect("fenced", lease_id=lease)
        await worker.send(heartbeat())
        await until(lambda: not db.worker("w1").lost, "the worker is back")


async def test_a_bye_ends_the_remaining_leases(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        running, leased = shared_db.enqueue(1, priority=2) + shared_db.enqueue(1)
        await worker.accept()
        await worker.expect("job", job_id=leased)
        await worker.send(frame("bye"))
        assert await worker.closed() == 1000
    assert (shared_db.state(running), shared_db.state(leased)) == ("lost", "queued")


async def test_a_second_hello_is_refused(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        await worker.send(hello("w1"))
        await worker.expect("error", code="hello_twice", fatal=True)


async def test_a_new_session_takes_over_from_an_old_one(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as old:
        [job] = shared_db.enqueue()
        lease = await old.accept()
        async with connect(shared.url, credential) as new:
            await new.send(hello("w1", held=[lease]))
            await old.expect("error", code="superseded")
            assert await old.closed() == 1008
            await new.report(lease)
    assert shared_db.state(job) == "succeeded"
