"""Frames that are malformed, too large, unknown or hostile: the session survives, or closes with a reason."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import aiohttp
import pytest

from edge_protocol import rest
from edge_protocol.limits import FRAME_MAX_BYTES
from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import bearer, enroll
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.session import connect, frame, heartbeat, hello, log_frame, session

LEASE = "6e1a6b62-57f8-4b0e-8dc6-4bd6c4e1b2ab"

MALFORMED = [
    "",
    "nonsense",
    "[]",
    "null",
    "{}",
    '{"type": "accept"}',
    '{"type": "accept", "lease_id": "x"}',
    '{"type": "heartbeat", "free_slots": -1, "jobs_active": 0}',
    '{"type": "heartbeat", "free_slots": 100000000000000000000, "jobs_active": 0}',
    f'{{"type": "report", "lease_id": "{LEASE}", "outcome": "maybe"}}',
    f'{{"type": "report", "lease_id": "{LEASE}", "outcome": "failed", "exit_code": 99999999999}}',
    f'{{"type": "report", "lease_id": "{LEASE}", "outcome": "failed", "error": "{"x" * 5000}"}}',
    f'{{"type": "report", "lease_id": "{LEASE}", "outcome": "failed", "error": "\\ud800"}}',
    f'{{"type": "log", "lease_id": "{LEASE}", "offset": -1, "data": ""}}',
    f'{{"type": "log", "lease_id": "{LEASE}", "offset": 9223372036854775807, "data": "YQ=="}}',
    f'{{"type": "log", "lease_id": "{LEASE}", "offset": 0, "skipped": 9223372036854775807, "data": "YQ=="}}',
    f'{{"type": "log", "lease_id": "{LEASE}", "offset": 0, "data": "!"}}',
    "[" * 5000,
]


async def test_malformed_frames_are_reported_and_the_session_goes_on(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        for text in MALFORMED:
            await worker.send(text)
            assert not (await worker.expect("error", code="bad_frame"))["fatal"]
        shared_db.enqueue()
        await worker.report(await worker.accept())


async def test_unknown_types_and_fields_are_passed_over(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        await worker.send(frame("from_the_future", x=1), frame("bye2"), heartbeat(news=[1, 2]))
        shared_db.enqueue()
        await worker.report(await worker.accept())
        assert not worker.has("error")


async def test_what_postgres_can_not_hold_is_replaced(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    versions = {"worker": "1\x00", "platform": "a\x00b"}
    async with session(shared.url, credential, versions=versions, maintenance_comment="\x00") as worker:
        [job] = shared_db.enqueue()
        lease = await worker.accept()
        strange = '{"a": NaN, "b": 1e999, "c": "\\u0000", "d\\u0000": 1, "e": 100000000000000000000000}'
        await worker.send(json.dumps(heartbeat(lease))[:-1] + f', "sysinfo": {strange}}}')
        await worker.report(lease, "failed", error="a\x00b")
        assert shared_db.job(job).error == "a\ufffdb"


async def test_a_bad_item_does_not_harm_others(shared: ApiProcess, shared_db: Db) -> None:
    """Frames of several workers go into one statement; each gets its own answer."""
    one, other = await enroll(shared.url, shared_db.url, "w1"), await enroll(shared.url, shared_db.url, "w2")
    async with session(shared.url, one) as good, session(shared.url, other, name="w2", queues=["none"]) as foreign:
        shared_db.enqueue()
        lease = await good.accept()
        await foreign.send(*[frame("report", lease_id=each, outcome="failed") for each in (lease, uuid4())])
        await good.send(frame("report", lease_id=lease, outcome="succeeded"))
        await good.expect("ack", of="report", lease_id=lease)
        await foreign.expect("fenced", lease_id=lease)


async def test_an_oversized_message_closes_the_session(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        await worker.send(log_frame(LEASE, 0, b"x" * FRAME_MAX_BYTES))
        assert await worker.closed() == 1009
    async with session(shared.url, credential):
        pass


@pytest.mark.parametrize("first", [heartbeat(), frame("bye"), frame("accept", lease_id=LEASE)])
async def test_a_session_begins_with_a_hello(shared: ApiProcess, shared_db: Db, first: dict[str, object]) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with connect(shared.url, credential) as worker:
        await worker.send(first)
        assert (await worker.expect("error", fatal=True))["code"] == "hello_first"
        assert await worker.closed() == 1008


async def test_hellos_that_can_not_be_taken(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    cases = {
        "wrong_worker": hello("w2"),
        "protocol_mismatch": hello("w1", protocol_min=0, protocol_max=1),
    }
    for code, bad in cases.items():
        async with connect(shared.url, credential) as worker:
            await worker.send(bad)
            assert (await worker.expect("error", fatal=True))["code"] == code
            assert await worker.closed() == 1008
    async with connect(shared.url, credential) as worker:
        await worker.send(hello("w1", protocol_min=7, protocol_max=9))
        assert "Upgrade the edge API" in (await worker.expect("error", fatal=True))["message"]
    async with connect(shared.url, credential) as worker:
        await worker.send(hello("w1", concurrency=0))
        assert "concurrency" in (await worker.expect("error", code="bad_frame"))["message"]
        await worker.send(hello("w1", queues=["q" * 257]))
        assert "queues.0" in (await worker.expect("error", code="bad_frame"))["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("GET", rest.ENROLL_PATH, None, 405),
        ("POST", rest.ENROLL_PATH, b"nonsense", 422),
        ("POST", rest.ENROLL_PATH, b"\xff\xfe", 422),
        ("POST", rest.ENROLL_PATH, b"[" * 100_000, 400),
        ("POST", rest.SYNC_PATH, b'{"wait_s": 31}', 422),
        ("POST", rest.SYNC_PATH, b'{"frames": [1]}', 422),
        ("POST", rest.SYNC_PATH, b'{"session_id": "x"}', 422),
        ("GET", rest.SESSION_PATH, None, 404),
    ],
)
async def test_bad_calls_are_problems(
    shared: ApiProcess, shared_db: Db, method: str, path: str, body: bytes | None, status: int
) -> None:
    headers = {"Content-Type": "application/json", **bearer(await enroll(shared.url, shared_db.url, "w1"))}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, f"{shared.url}{path}", data=body and io.BytesIO(body), headers=headers) as answer,
    ):
        assert (answer.status, answer.content_type) == (status, "application/problem+json")
        problem = rest.Problem.model_validate(await answer.json())
        assert problem.status == status


async def test_a_body_without_a_length_is_bounded_too(shared: ApiProcess) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 65536

    async with aiohttp.ClientSession() as http:
        with contextlib.suppress(aiohttp.ClientConnectionError):  # it may close before everything was sent
            async with http.post(f"{shared.url}{rest.ENROLL_PATH}", data=endless()) as answer:
                assert answer.status == 413
        async with http.get(f"{shared.url}{rest.INFO_PATH}") as answer:
            assert (await answer.json())["api"] == "airflow-edge"


async def test_a_body_that_is_too_long_is_refused_before_it_is_sent(shared: ApiProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shared.port)
    head = f"POST {rest.ENROLL_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n"
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.read(), 20)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body_too_large"' in answer
    writer.close()
    await writer.wait_closed()
