"""Task logs: repeats, overlaps, gaps, reported losses, and foreign leases."""

import os
from uuid import UUID, uuid4

from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import enroll
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import Client, frame, log_frame, session
from edge_testing.waiting import until

BOUND = 512 * 1024


async def running(worker: Client, db: Db) -> str:
    db.enqueue()
    return await worker.accept()


async def test_chunks_that_do_not_fit_get_a_true_answer(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        lease = await running(worker, shared_db)

        async def send(offset: int, data: bytes, expected_end: int, **fields: int) -> None:
            await worker.send(log_frame(lease, offset, data, **fields))
            answer = await worker.expect("ack", of="log")
            assert answer["offset"] == expected_end

        await send(0, b"abc", 3)
        await send(0, b"abc", 3)  # a repeat
        await send(1, b"bcdef", 6)  # an overlap
        await send(10, b"gap", 6)
        await send(0, b"", 6)  # a question
        await send(10, b"xyz", 13, skipped=4)  # bytes 6 to 9 are lost
        await send(10, b"xyz", 13, skipped=4)
        assert shared_db.log_of(UUID(lease)) == b"abcdefxyz"


async def test_a_burst_arrives_whole_and_in_order(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        leases = [await running(worker, shared_db) for _ in range(3)]
        text = os.urandom(300_000)
        for start in range(0, len(text), 50_000):
            chunk = text[start : start + 50_000]
            await worker.send(*[log_frame(lease, start, chunk) for lease in leases])
        for lease in leases:
            await worker.expect("ack", of="log", lease_id=lease, offset=len(text))
            assert shared_db.log_of(UUID(lease)) == text


async def test_a_log_may_come_after_the_report_and_after_a_fence(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        [job] = shared_db.enqueue()
        lease = await worker.accept()
        shared_db.revoke(job)
        await worker.send(frame("report", lease_id=lease, outcome="succeeded"))
        await worker.expect("fenced", of="lease", lease_id=lease)
        await worker.send(log_frame(lease, 0, b"late"))
        await worker.expect("ack", of="log", offset=4)


async def test_logs_of_foreign_and_unknown_leases_are_fenced(shared: ApiProcess, shared_db: Db) -> None:
    one = await enroll(shared.url, shared_db.url, "w1")
    other = await enroll(shared.url, shared_db.url, "w2")
    async with session(shared.url, one) as worker, session(shared.url, other, name="w2", queues=["none"]) as thief:
        lease = await running(worker, shared_db)
        for bad in (lease, str(uuid4())):
            await thief.send(log_frame(bad, 0, b"forged"))
            await thief.expect("fenced", of="log", lease_id=bad)
        await worker.send(log_frame(lease, 0, b"mine"))
        await worker.expect("ack", of="log", lease_id=lease, offset=4)
        assert shared_db.log_of(UUID(lease)) == b"mine"


async def test_a_log_is_stored_up_to_its_bound_with_its_end(start_api: StartApi, db: Db) -> None:
    """The bound holds across replicas and reconnects; the worker only sees acknowledgements."""
    replicas = [await start_api(log_max_bytes=BOUND) for _ in range(2)]
    credential = await enroll(replicas[0].url, db.url, "w1")
    db.enqueue()
    text = b"".join(f"line {number:07}\n".encode() for number in range(100_000))
    lease, sent = "", 0
    for turn in range(4):
        async with session(replicas[turn % 2].url, credential) as worker:
            lease = lease or await worker.accept()
            for _ in range(4):
                piece = text[sent : sent + 100_000]
                await worker.send(log_frame(lease, sent, piece))
                sent += len(piece)
                await worker.expect("ack", of="log", offset=sent)
            await worker.send(log_frame(lease, 0, b"again"))
            await worker.expect("ack", of="log", offset=sent)
            assert not [found for found in worker.seen if found["type"] == "fenced"]
    assert sent == len(text)
    stored = db.log_of(UUID(lease))
    assert stored.count(b"[log truncated: ") == 1
    head, _, tail = stored.partition(b'\n{"')
    assert text.startswith(head)
    notice, _, tail = tail.partition(b"\n")
    assert b"EDGE_API_LOG_MAX_BYTES" in notice
    assert str(BOUND).encode() in notice
    assert text.endswith(tail)
    assert len(head) == BOUND
    assert 64 * 1024 <= len(tail) <= 128 * 1024
    assert sum([await api.metric("airflow_edge_logs_truncated_total") for api in replicas]) == 1
    discarded = sum([await api.metric("airflow_edge_log_bytes_discarded_total") for api in replicas])
    assert discarded == len(text) - len(head) - len(tail)


async def test_the_size_of_stored_logs_is_a_metric(start_api: StartApi, db: Db) -> None:
    worker = uuid4()
    db.rows(f"INSERT INTO edge.lease (id, job_id, worker_name) VALUES ('{worker}', '{worker}', 'w1')")
    db.rows(f"INSERT INTO edge.log SELECT '{worker}', n, uuid_send(gen_random_uuid()) FROM generate_series(1, 30000) n")
    api = await start_api()

    async def size() -> float:
        return await api.metric("airflow_edge_log_storage_bytes")

    assert 1e6 < await until(size, "the size is known") < 1e7
