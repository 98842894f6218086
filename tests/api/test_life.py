"""A job's whole life with a real API process and a raw WebSocket client."""

from uuid import UUID

from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import enroll
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.session import log_frame, session
from edge_testing.waiting import until


async def test_a_job_runs_and_its_log_is_kept(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        [job] = shared_db.enqueue()
        offer = await worker.expect("job")
        assert (offer["job_id"], offer["workload"], offer["slots"]) == (str(job), '{"token": "secret"}', 1)
        lease = offer["lease_id"]
        await worker.send({"type": "accept", "lease_id": lease})
        await worker.expect("ack", of="accept", lease_id=lease)
        assert shared_db.state(job) == "running"
        await worker.send(log_frame(lease, 0, b"hello\n"), log_frame(lease, 6, b"world\n"))
        await worker.expect("ack", of="log", lease_id=lease, offset=12)
        await worker.report(lease)
        assert (shared_db.state(job), shared_db.job(job).workload) == ("succeeded", None)
        assert shared_db.log_of(UUID(lease)) == b"hello\nworld\n"


async def test_jobs_in_number_go_to_free_slots(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    found = shared_db.enqueue(20)
    async with session(shared.url, credential, concurrency=3) as worker:
        for _ in found:
            await worker.report(await worker.accept())
    assert {shared_db.state(job) for job in found} == {"succeeded"}


async def test_bye_ends_the_session_and_frees_the_name(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        await worker.send({"type": "bye"})
        assert await worker.closed() == 1000
    await until(lambda: shared_db.worker("w1").offline, "the worker is offline")
