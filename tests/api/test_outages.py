"""The API or PostgreSQL fails while tasks run: nothing is lost, and sessions only need to reconnect."""

import asyncio
from uuid import UUID

from edge_demo.postgres import EmbeddedPostgres
from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import enroll
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import frame, heartbeat, log_frame, session
from edge_testing.waiting import until


async def test_an_api_that_was_killed_takes_the_reports_afterwards(start_api: StartApi, db: Db) -> None:
    api = await start_api()
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential) as worker:
        jobs = db.enqueue(2)
        leases = [await worker.accept(), await worker.accept()]
        await worker.send(log_frame(leases[0], 0, b"before "))
        await worker.expect("ack", of="log", offset=7)
        api.kill()
        await worker.closed()
    api.start()
    await asyncio.to_thread(api.wait_ready)
    async with session(api.url, credential, held=leases) as worker:
        await worker.send(log_frame(leases[0], 0, b"before and after"))
        await worker.expect("ack", of="log", offset=16)
        for lease in leases:
            await worker.report(lease)
    assert {db.state(job) for job in jobs} == {"succeeded"}
    assert db.log_of(UUID(leases[0])) == b"before and after"


async def test_no_lease_expires_while_the_api_is_down(start_api: StartApi, db: Db) -> None:
    """The worker was silent for longer than the window when the API starts, but nobody could have heard it."""
    api = await start_api(heartbeat_interval_s=2, accept_timeout_s=6)
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential) as worker:
        running, leased = db.enqueue(1, priority=2) + db.enqueue(1)
        lease = await worker.accept()
        offered = (await worker.expect("job", job_id=leased))["lease_id"]
        api.kill()
    db.rows("UPDATE edge.worker SET last_heartbeat = now() - interval '1 hour'")
    db.rows("UPDATE edge.job SET lease_expires_at = now() - interval '1 hour' WHERE state = 'leased'")
    api.start()
    await asyncio.to_thread(api.wait_ready)
    passes = 'airflow_edge_housekeeping_passes_total{duty="liveness"}'
    await until(lambda: passes_reach(api, passes, 2), "the liveness service has looked")
    assert (db.state(running), db.state(leased)) == ("running", "leased")
    async with session(api.url, credential, held=[lease, offered]) as worker:
        await worker.send(frame("accept", lease_id=offered))
        await worker.expect("ack", of="accept", lease_id=offered)
        await worker.report(lease)
        await worker.report(offered)


async def passes_reach(api: ApiProcess, name: str, count: int) -> bool:
    return bool(await api.metric(name) >= count)


async def test_a_worker_that_stays_away_is_lost_after_the_grace(start_api: StartApi, db: Db) -> None:
    api = await start_api(heartbeat_interval_s=0.3)
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential) as worker:
        [job] = db.enqueue()
        await worker.accept()
        api.kill()
    api.start()
    await asyncio.to_thread(api.wait_ready)
    await until(lambda: db.state(job) == "lost", "the job is lost")


async def test_sessions_survive_a_restart_of_postgres(start_api: StartApi, db: Db, postgres: EmbeddedPostgres) -> None:
    api = await start_api(heartbeat_interval_s=2)
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential) as worker:
        jobs = db.enqueue(3)
        leases = [await worker.accept() for _ in jobs]
        postgres.restart()
        # All at once, while the API may still hold broken connections.
        await worker.send(*[log_frame(lease, 0, b"all of it") for lease in leases], heartbeat(*leases))
        await worker.send(*[frame("report", lease_id=lease, outcome="succeeded") for lease in leases])
        for lease in leases:
            await worker.expect("ack", of="report", lease_id=lease)
            await worker.expect("ack", of="log", lease_id=lease, offset=9)
        await asyncio.to_thread(api.wait_ready)
        # Hints work again.
        [job] = db.enqueue()
        await worker.report(await worker.accept())
        db.set_desired("w1", maintenance=True)
        await worker.expect("desired", maintenance=True)
    assert {db.state(each) for each in [*jobs, job]} == {"succeeded"}
    assert {db.log_of(UUID(lease)) for lease in leases} == {b"all of it"}


async def test_a_cancel_during_an_outage_is_sent_afterwards(
    start_api: StartApi, db: Db, postgres: EmbeddedPostgres
) -> None:
    api = await start_api()
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential) as worker:
        [job] = db.enqueue()
        lease = await worker.accept()
        # The hint is lost, since the API's listening connection is cut at the same moment.
        db.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        db.revoke(job)
        await worker.expect("cancel", lease_id=lease)


async def test_sigterm_sends_workers_elsewhere(start_api: StartApi, db: Db) -> None:
    api = await start_api()
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential) as worker:
        [job] = db.enqueue()
        lease = await worker.accept()
        await worker.send(frame("report", lease_id=lease, outcome="succeeded"), heartbeat())
        await until(lambda: db.state(job) == "succeeded", "the report is written")
        ended = asyncio.create_task(asyncio.to_thread(api.end))
        assert not (await worker.expect("error", code="going_away"))["fatal"]
        assert await worker.closed() == 1012
        assert await ended == 0
    assert worker.has("ack", of="report", lease_id=lease)
    assert api.lines()[-1]["message"] == "edge API has stopped"
