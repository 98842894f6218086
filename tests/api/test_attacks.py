"""The attack list: each attack is refused, leaves an entry in the audit trail, and changes nothing."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from yarl import URL

from edge_protocol.admin import ADMIN_PATH
from edge_protocol.limits import FRAME_MAX_BYTES
from edge_protocol.rest import ENROLL_PATH, SESSION_PATH, SYNC_PATH
from edge_testing.database.db import Db
from edge_testing.edge_api.commands import join_token
from edge_testing.edge_api.credentials import admin_credential, bearer, worker_credential
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.session import frame, heartbeat, hello, log_frame, session
from edge_testing.waiting import until


@pytest.fixture(scope="module")
def attacked(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """A process of its own, since repeated refusals are counted together across tests."""
    with ApiProcess(module_database, tmp_path_factory.mktemp("attacked") / "api.log") as api:
        yield api


@pytest.fixture
def db(attacked: ApiProcess) -> Iterator[Db]:
    with Db(attacked.database) as opened:
        opened.empty()
        yield opened


async def audited(db: Db, action: str, *objects: str) -> None:
    """Wait for an audit entry that contains all of these texts."""

    def found() -> bool:
        rows = db.rows(f"SELECT actor, object, detail FROM edge.audit WHERE action = 'refused.{action}'")
        return any(all(each in str(row) for each in objects) for row in rows)

    await until(found, f"refused.{action} {objects} is in the audit trail")


async def call(
    api: ApiProcess, method: str, path: str, credential: str | None = None, **more: Any
) -> tuple[int, dict[str, Any]]:
    headers = more.pop("headers", {}) | ({} if credential is None else bearer(credential))
    url = URL(api.url + path, encoded=True)
    async with aiohttp.ClientSession() as http, http.request(method, url, headers=headers, **more) as answer:
        if answer.status >= 400:
            assert answer.content_type == "application/problem+json"
        return answer.status, await answer.json(content_type=None)


async def test_invalid_credentials(attacked: ApiProcess, db: Db) -> None:
    good = worker_credential(db, "w1")
    kind, public_id, secret = good.split("_", 2)  # the secret may contain underscores
    wrong = f"{kind}_{public_id}_{'x' * len(secret)}"
    revoked = worker_credential(db, "w2")
    db.rows("UPDATE edge.credential SET revoked_at = now() WHERE worker_name = 'w2'")
    expired = worker_credential(db, "w3", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    cases = [
        (None, "credential_missing"),
        ("rubbish", "credential_invalid"),
        (wrong, "credential_unknown"),
        (revoked, "credential_revoked"),
        (expired, "credential_expired"),
    ]
    for credential, code in cases:
        for path in (SYNC_PATH, "/edge_worker/v2/credential/rotate"):
            status, problem = await call(attacked, "POST", path, credential, json={"frames": []})
            assert (status, problem["code"]) == (401, code)
        await audited(db, code)
    # The public id is recorded, the secret never.
    await audited(db, "credential_unknown", public_id)
    assert not db.rows(f"SELECT 1 FROM edge.audit WHERE strpos(detail::text || object, '{secret}') > 0")


async def test_leases_of_another_worker(attacked: ApiProcess, db: Db) -> None:
    async with (
        session(attacked.url, worker_credential(db, "w1"), name="w1") as holder,
        session(attacked.url, worker_credential(db, "w2", queues=["none"]), name="w2") as thief,
    ):
        await holder.send(heartbeat(free_slots=4))
        (job,) = db.enqueue()
        lease = await holder.accept()
        await thief.send(frame("accept", lease_id=lease), frame("report", lease_id=lease, outcome="failed"))
        await thief.send(log_frame(lease, 0, b"forged"))
        for _ in range(3):
            await thief.expect("fenced", lease_id=lease)
        assert (db.state(job), db.log_of(db.job(job).lease_id)) == ("running", b"")
        await holder.report(lease)
    await audited(db, "foreign_lease", "worker:w2", "w1")


async def test_join_tokens_used_for_what_they_do_not_cover(attacked: ApiProcess, db: Db) -> None:
    token = join_token(db.url, "--name-pattern", "plant-*", "--queues", "a", "--uses", "1")
    cases: Sequence[tuple[dict[str, Any], str]] = [
        ({"worker": "shop-1"}, "worker_name_not_allowed"),
        ({"worker": "plant-1", "queues": ["b"]}, "queue_not_granted"),
        ({"worker": "plant-1"}, "done"),
        ({"worker": "plant-2"}, "join_token_used_up"),
    ]
    for body, code in cases:
        status, answer = await call(attacked, "POST", ENROLL_PATH, json={"join_token": token, **body})
        assert (status, answer.get("code", "done")) == (201 if code == "done" else 403, code)
        if code != "done":
            await audited(db, code, token.split("_")[1])


async def test_wrong_roles(attacked: ApiProcess, db: Db) -> None:
    worker, reader = worker_credential(db, "w1"), admin_credential(db, "read")
    for method, path, credential, code in (
        ("GET", "/workers", worker, "wrong_role"),
        ("DELETE", "/workers/w1", worker, "wrong_role"),
        ("PUT", "/workers/w1/maintenance", reader, "read_only"),
        ("POST", "/workers/bulk", reader, "read_only"),
    ):
        status, problem = await call(attacked, method, ADMIN_PATH + path, credential, json={"comment": "x"})
        assert (status, problem["code"]) == (403, code)
        await audited(db, code)


async def test_an_admin_of_a_part_of_the_fleet_reaches_for_the_rest(attacked: ApiProcess, db: Db) -> None:
    async with session(attacked.url, worker_credential(db, "shop-1"), name="shop-1") as foreign:
        await foreign.send(heartbeat(free_slots=0))
        (job,) = db.enqueue(queue="other")
        cases: Sequence[tuple[str, str, dict[str, Any], int, str]] = [
            ("GET", "/workers/shop-1", {}, 404, "worker_unknown"),
            ("DELETE", "/workers/shop-1", {}, 404, "worker_unknown"),
            ("PUT", "/workers/shop-1/shutdown", {}, 404, "worker_unknown"),
            ("PUT", "/workers/shop-1/maintenance", {"comment": "x"}, 404, "worker_unknown"),
            ("PATCH", "/workers/shop-1", {"add_queues": ["a"]}, 404, "worker_unknown"),
            ("DELETE", "/workers/shop-1/credentials", {}, 404, "worker_unknown"),
            ("GET", f"/jobs/{job}", {}, 404, "job_unknown"),
            ("GET", f"/jobs/{job}/explain", {}, 404, "job_unknown"),
            ("GET", "/queues/other", {}, 403, "out_of_scope"),
            ("POST", "/tokens", {"worker_pattern": "*"}, 403, "out_of_scope"),
            ("POST", "/tokens", {"worker_pattern": "plant-1", "queues": ["other"]}, 403, "out_of_scope"),
            ("POST", "/credentials", {"role": "admin", "label": "x", "worker_pattern": "p*"}, 403, "out_of_scope"),
        ]
        for method, path, body, status, code in cases:
            # Each uses its own credential, since repeats within a minute are counted together.
            scoped = admin_credential(db, worker_pattern="plant-*", queues=["a"])
            got, problem = await call(attacked, method, ADMIN_PATH + path, scoped, json=body)
            assert (got, problem["code"]) == (status, code), (method, path)
            await audited(db, "out_of_scope", scoped.split("_")[1], f"{method} {ADMIN_PATH}{path}")
        worker = db.worker("shop-1")
        assert (worker.offline, worker.queues) == (False, ["default"])
        assert db.rows("SELECT 1 FROM edge.worker_desired WHERE shutdown OR maintenance OR queues_added <> '{}'") == []
        assert db.rows("SELECT 1 FROM edge.join_token WHERE worker_pattern IN ('*', 'plant-1')") == []


BAD_NAMES = ["../../etc/passwd", "a/b", "a\\b", "a\x00b", ".", "..", "", "-a", "a ", "ü", "x" * 254]


async def test_path_tricks_in_worker_names(attacked: ApiProcess, db: Db) -> None:
    token, admin = join_token(db.url), admin_credential(db)
    for name in BAD_NAMES:
        status, problem = await call(attacked, "POST", ENROLL_PATH, json={"join_token": token, "worker": name})
        assert (status, problem["code"]) == (422, "invalid_request"), name
    await audited(db, "http_422", ENROLL_PATH)
    for path in ("/workers/..%2f..%2fetc", "/workers/%2e%2e", "/workers/a%00b", "/workers/a%5cb"):
        status, _ = await call(attacked, "GET", ADMIN_PATH + path, admin)
        assert status in (404, 422), path


async def test_log_paths_are_data_not_paths(attacked: ApiProcess, db: Db) -> None:
    """A log path comes from the scheduler. Wherever it points, a log is stored only as rows in the database."""
    async with session(attacked.url, worker_credential(db, "w1")) as worker:
        await worker.send(heartbeat(free_slots=4))
        (job,) = db.enqueue(log_path="../../../../tmp/edge-attack")
        lease = await worker.accept()
        await worker.send(log_frame(lease, 0, b"x"))
        await worker.expect("ack", of="log")
        assert db.log_of(db.job(job).lease_id) == b"x"


async def test_a_body_of_100_mb(attacked: ApiProcess, db: Db) -> None:
    credential = worker_credential(db, "w1")
    status, problem = await call(attacked, "POST", SYNC_PATH, credential, headers={"Content-Length": str(100 << 20)})
    assert (status, problem["code"]) == (413, "body_too_large")
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b" " * (1 << 20)

    # The server may close the connection before the client has read the answer.
    with contextlib.suppress(aiohttp.ClientConnectionError):
        status, problem = await call(attacked, "POST", SYNC_PATH, credential, data=endless())
        assert (status, problem["code"]) == (413, "body_too_large")
    assert sent < 50
    await audited(db, "http_413")


async def test_a_compressed_body(attacked: ApiProcess, db: Db) -> None:
    bomb = gzip.compress(b'{"frames": ["' + b"x" * (20 << 20) + b'"]}')
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    credential = worker_credential(db, "w1")
    status, problem = await call(attacked, "POST", SYNC_PATH, credential, data=bomb, headers=headers)
    assert (status, problem["code"]) == (415, "compressed_body")
    await audited(db, "http_415")


async def test_an_oversized_frame_ends_its_session(attacked: ApiProcess, db: Db) -> None:
    async with session(attacked.url, worker_credential(db, "w1")) as worker:
        await worker.announce(FRAME_MAX_BYTES + 1)
        assert await worker.closed() == 1009


async def raw(api: ApiProcess, *pieces: bytes) -> bytes:
    """Send bytes over a new connection and return everything until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 40)
    finally:
        writer.close()


async def test_slow_loris(attacked: ApiProcess, db: Db) -> None:
    async def silent_session() -> str:
        headers = bearer(worker_credential(db, "w1"))
        url = attacked.url + SESSION_PATH
        async with aiohttp.ClientSession() as http, http.ws_connect(url, headers=headers) as socket:
            return str((await asyncio.wait_for(socket.receive(), 20)).data)

    slow_headers = raw(attacked, b"GET /edge_worker/v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    said, answer = await asyncio.gather(silent_session(), slow_headers)
    assert "hello_first" in said
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"headers_too_slow" in answer
    await audited(db, "headers_too_slow")


async def test_too_many_headers(attacked: ApiProcess, db: Db) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(100))
    answer = await raw(attacked, b"GET /edge_worker/v2/ HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431")
    await audited(db, "headers_too_large")


async def test_a_name_of_a_live_worker_is_not_taken(attacked: ApiProcess, db: Db) -> None:
    async with session(attacked.url, worker_credential(db, "w1")) as worker:
        await worker.send(heartbeat(free_slots=4))
        other = worker_credential(db, "w1")
        status, answer = await call(attacked, "POST", SYNC_PATH, other, json={"frames": [json.dumps(hello("w1"))]})
        assert status == 200
        assert "name_taken" in answer["frames"][0]
    await audited(db, "name_taken", "worker:w1")
