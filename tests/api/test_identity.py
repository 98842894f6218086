"""Rotation, revocation, scopes, roles and versions, as sessions and calls see them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from edge_protocol.rest import INFO_PATH, ROTATE_PATH, SYNC_PATH
from edge_testing.database.db import Db
from edge_testing.edge_api.admin import AdminClient, admin_client
from edge_testing.edge_api.credentials import admin_credential, bearer, enroll, worker_credential
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import connect, heartbeat, hello, session
from edge_testing.waiting import until


async def post(api: ApiProcess, path: str, credential: str, **more: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http, http.post(api.url + path, headers=bearer(credential), **more) as answer:
        return answer.status, await answer.json(content_type=None)


async def code_of_session(api: ApiProcess, credential: str) -> str:
    """Return how a session with a credential ends: `welcome`, or the code of the refusal."""
    status, problem = await post(api, SYNC_PATH, credential, json={"frames": [], "wait_s": 0})
    return "welcome" if status == 200 else str(problem["code"])


async def test_rotation_keeps_who_the_worker_is(shared: ApiProcess, shared_db: Db, admin: AdminClient) -> None:
    old = worker_credential(shared_db, "w1", queues=["default", "a"])
    async with session(shared.url, old) as worker:
        await worker.send(heartbeat(free_slots=4))
        status, rotated = await post(shared, ROTATE_PATH, old)
        assert (status, rotated["worker"], rotated["queues"]) == (201, "w1", ["default", "a"])
        # Both are valid now; the session with the old one continues and gets jobs.
        shared_db.enqueue()
        lease = await worker.accept()
        async with session(shared.url, rotated["credential"], held=[lease]) as successor:
            await successor.report(lease)
    entry = (await admin.get("/audit", action="credential.rotate"))["items"][0]
    assert (entry["actor"], entry["detail"]["successor"]) == ("worker:w1", rotated["credential_id"])
    assert rotated["credential"].split("_", 2)[2] not in str(entry)


async def test_a_rotated_out_credential_ends_with_its_overlap(start_api: StartApi, db: Db) -> None:
    api = await start_api(credential_overlap_s=1.5)
    old = worker_credential(db, "w1")
    async with session(api.url, old) as worker:
        status, rotated = await post(api, ROTATE_PATH, old)
        assert status == 201
        error = await worker.expect("error")
        assert (error["code"], error["fatal"]) == ("credential_expired", False)
    assert await code_of_session(api, old) == "credential_rotated"
    assert await code_of_session(api, rotated["credential"]) == "welcome"
    await until(lambda: db.rows("SELECT 1 FROM edge.audit WHERE action = 'refused.credential_rotated'"), "audited")


async def test_a_rotation_whose_answer_was_lost_is_repeated(shared: ApiProcess, shared_db: Db) -> None:
    old = worker_credential(shared_db, "w1")
    _, lost = await post(shared, ROTATE_PATH, old)
    _, received = await post(shared, ROTATE_PATH, old)
    assert await code_of_session(shared, lost["credential"]) == "credential_revoked"
    assert await code_of_session(shared, received["credential"]) == "welcome"


async def test_revocation_reaches_a_session_on_another_replica_within_a_second(start_api: StartApi, db: Db) -> None:
    one, other = await start_api(), await start_api()
    credential = worker_credential(db, "w1")
    async with session(one.url, credential) as worker, admin_client(other.url, admin_credential(db)) as admin:
        began = datetime.now(UTC)
        assert (await admin.call("DELETE", "/workers/w1/credentials"))["revoked"] == 1
        error = await worker.expect("error")
        assert (error["code"], error["fatal"]) == ("credential_revoked", True)
        assert datetime.now(UTC) - began < timedelta(seconds=1)
    for api in (one, other):
        assert await code_of_session(api, credential) == "credential_revoked"


async def test_maintenance_reaches_a_session_on_another_replica_within_a_second(start_api: StartApi, db: Db) -> None:
    one, other = await start_api(), await start_api()
    async with (
        session(one.url, worker_credential(db, "w1")) as worker,
        admin_client(other.url, admin_credential(db)) as admin,
    ):
        async with asyncio.timeout(1):
            await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "x"})
            await worker.expect("desired", maintenance=True)


async def test_a_narrowed_scope_counts_at_the_next_claim_and_is_reported(
    shared: ApiProcess, shared_db: Db, admin: AdminClient
) -> None:
    async with session(shared.url, worker_credential(shared_db, "w1", queues=["a", "b"])) as worker:
        await worker.send(heartbeat(free_slots=4))
        (row,) = (await admin.get("/credentials", worker="w1"))["items"]
        await admin.call("PATCH", f"/credentials/{row['id']}", json={"queues": ["b"]})
        (kept,) = shared_db.enqueue(queue="a")
        (given,) = shared_db.enqueue(queue="b")
        job = await worker.expect("job")
        assert job["job_id"] == str(given)
        await worker.expect("desired", queues=["b"])
        assert shared_db.state(kept) == "queued"


async def test_roles(shared: ApiProcess, shared_db: Db, admin: AdminClient) -> None:
    async with admin_client(shared.url, admin_credential(shared_db, "read")) as reader:
        assert (await reader.get("/workers"))["items"] == []
        assert (await reader.call("POST", "/tokens", 403, json={}))["code"] == "read_only"
    async with admin_client(shared.url, worker_credential(shared_db, "w1")) as stranger:
        assert (await stranger.get("/workers", 403))["code"] == "wrong_role"
    assert await code_of_session(shared, admin_credential(shared_db)) == "credential_invalid"
    await until(lambda: _audited(admin, "refused.read_only"), "audited")
    await until(lambda: _audited(admin, "refused.wrong_role"), "audited")


async def _audited(admin: AdminClient, action: str) -> bool:
    return bool((await admin.get("/audit", action=action))["items"])


async def test_tokens_and_credentials_are_made_listed_and_revoked(
    shared: ApiProcess, shared_db: Db, admin: AdminClient
) -> None:
    made = await admin.call("POST", "/tokens", 201, json={"worker_pattern": "w*", "queues": ["a"], "uses": None})
    listed = (await admin.get("/tokens", limit=1))["items"][0]
    assert (listed["id"], "token" in listed) == (made["id"], False)
    body = {"join_token": made["token"], "worker": "w1"}
    async with aiohttp.ClientSession() as http, http.post(f"{shared.url}/edge_worker/v2/enroll", json=body) as answer:
        assert answer.status == 201
    await admin.call("DELETE", f"/tokens/{made['id']}", 204)
    async with aiohttp.ClientSession() as http, http.post(f"{shared.url}/edge_worker/v2/enroll", json=body) as answer:
        assert (await answer.json())["code"] == "join_token_revoked"

    made = await admin.call("POST", "/credentials", 201, json={"role": "read", "label": "grafana"})
    async with admin_client(shared.url, made["credential"]) as reader:
        await reader.get("/queues")
        await admin.call("DELETE", f"/credentials/{made['id']}", 204)
        assert (await reader.get("/queues", 401))["code"] == "credential_revoked"
    pages = await admin.get("/credentials", limit=1)
    assert (await admin.get("/credentials", limit=1, cursor=pages["next"]))["items"] != pages["items"]
    trail = str((await admin.get("/audit", limit=1000))["items"])
    assert made["credential"].split("_", 2)[2] not in trail


async def test_an_expired_credential_ends_its_session(start_api: StartApi, db: Db) -> None:
    api = await start_api()
    credential = worker_credential(db, "w1", expires_at=datetime.now(UTC) + timedelta(seconds=2))
    async with session(api.url, credential) as worker:
        assert (await worker.expect("error"))["code"] == "credential_expired"
    assert await code_of_session(api, credential) == "credential_expired"
    await until(lambda: db.rows("SELECT 1 FROM edge.audit WHERE action = 'refused.credential_expired'"), "audited")


async def test_versions_outside_the_policy_are_cordoned_and_keep_what_they_run(start_api: StartApi, db: Db) -> None:
    api = await start_api(airflow_skew="minor")
    async with (
        session(api.url, worker_credential(db, "w1"), versions={"worker": "0.1.0", "airflow": "3.3.0"}) as worker,
        admin_client(api.url, admin_credential(db)) as admin,
    ):
        await worker.send(heartbeat(free_slots=4))
        db.enqueue()
        lease = await worker.accept()
        db.rows("INSERT INTO edge.platform (key, value) VALUES ('airflow_version', '3.4.1')")
        await until(lambda: _cordoned(admin), "cordoned")
        (waiting,) = db.enqueue()
        explanation = await admin.get(f"/jobs/{waiting}/explain")
        assert (explanation["verdict"], "Airflow 3.3.0" in explanation["message"]) == ("version", True)
        await worker.report(lease)
        assert db.state(waiting) == "queued"
        db.rows("UPDATE edge.platform SET value = '3.3.9' WHERE key = 'airflow_version'")
        await worker.accept()
        assert (await admin.get("/workers/w1"))["cordon"]["reasons"] == []


async def _cordoned(admin: AdminClient) -> bool:
    view = await admin.get("/workers/w1")
    return [reason["code"] for reason in view["cordon"]["reasons"]] == ["version"]


async def test_enrolment_is_audited(shared: ApiProcess, shared_db: Db, admin: AdminClient) -> None:
    await enroll(shared.url, shared_db.url, "w1", "--uses", "1")
    entry = (await admin.get("/audit", action="worker.enroll"))["items"][0]
    assert (entry["object"], entry["actor"].startswith("token:")) == ("worker/w1", True)


async def test_a_hello_for_another_worker_is_refused_and_audited(
    shared: ApiProcess, shared_db: Db, admin: AdminClient
) -> None:
    async with connect(shared.url, worker_credential(shared_db, "w1")) as worker:
        await worker.send(hello("w2"))
        assert (await worker.expect("error"))["code"] == "wrong_worker"
    await until(lambda: _audited(admin, "refused.wrong_worker"), "audited")


async def test_info_needs_no_credential(shared: ApiProcess) -> None:
    async with aiohttp.ClientSession() as http, http.get(shared.url + INFO_PATH) as answer:
        assert (await answer.json())["api"] == "airflow-edge"
