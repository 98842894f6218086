"""The v1 API: the calls of edge3 workers, and what they must not be able to do."""

import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import aiohttp
import pytest
from yarl import URL

from edge_testing.database.db import Db
from edge_testing.edge_api.admin import AdminClient, admin_client
from edge_testing.edge_api.credentials import admin_credential, worker_credential
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import heartbeat, session
from edge_testing.edge_api.v1 import SECRET, V1Client, named, path_of, token, v1_client
from edge_testing.waiting import until


@pytest.fixture
async def v1_api(start_api: StartApi) -> ApiProcess:
    return await start_api(v1_jwt_secret=SECRET)


@pytest.fixture
async def v1(v1_api: ApiProcess) -> AsyncIterator[V1Client]:
    async with v1_client(v1_api.url) as client:
        yield client


@pytest.fixture
async def admin(v1_api: ApiProcess, db: Db) -> AsyncIterator[AdminClient]:
    async with admin_client(v1_api.url, admin_credential(db)) as client:
        yield client


async def test_switched_off_by_default(shared: ApiProcess) -> None:
    async with v1_client(shared.url) as v1:
        assert await v1.call("GET", "health") == {"status": "healthy"}
        problem = await v1.fetch("w1", 403)
        assert "EDGE_API_V1_JWT_SECRET" in problem["detail"]


async def test_whole_life(v1: V1Client, db: Db, admin: AdminClient) -> None:
    assert (await v1.register("w1"))["versions_match"] is True
    answer = await v1.report_state("w1", "idle")
    assert (answer["state"], answer["queues"], answer["concurrency"]) == ("idle", ["default"], None)
    assert await v1.fetch("w1") is None
    run_id = "scheduled__2026-11-21T00:00:00+00:00"
    (job,) = db.enqueue(run_id=run_id, slots=2, priority=5)
    db.enqueue(queue="other", priority=9)
    fetched = await v1.fetch("w1", queues=["default", "other"])
    assert (fetched["task_instance_id"], fetched["concurrency_slots"]) == (str(job), 2)
    assert fetched["command"] == {"token": "secret"}
    assert await v1.fetch("w1") is None
    await v1.report(fetched, "running")
    assert db.state(job) == "running"
    path = await v1.call("GET", f"logs/logfile_path/{path_of(fetched)}")
    assert path == "dag/run/task/1.log"
    await v1.push(fetched, "one\n")
    await v1.push(fetched, "zwei ü\n")
    await v1.report_state("w1", "running", jobs_active=1, sysinfo={"free_concurrency": 2})
    view = await admin.get("/workers/w1")
    assert (view["state"], view["protocol"], view["slots_used"], view["queues"]) == ("running", 1, 2, ["default"])
    await v1.report(fetched, "success")
    assert (db.state(job), db.job(job).workload) == ("succeeded", None)
    await v1.push(fetched, "three\n")
    assert db.log_of(db.job(job).lease_id).decode() == "one\nzwei ü\nthree\n"
    await v1.report_state("w1", "offline")
    assert (await admin.get("/workers/w1"))["state"] == "offline"
    await v1.register("w1")


async def test_a_log_has_the_same_limit_as_on_the_v2_wire(start_api: StartApi, db: Db) -> None:
    api = await start_api(v1_jwt_secret=SECRET, log_max_bytes=4096)
    async with v1_client(api.url) as v1:
        await v1.register("w1")
        (job,) = db.enqueue()
        fetched = await v1.fetch("w1")
        await v1.report(fetched, "running")
        for number in range(10):
            await v1.push(fetched, f"\x00{number}" * 50_000)
    stored = db.log_of(db.job(job).lease_id)
    assert stored.count(b"[log truncated: ") == 1
    assert (stored[:4096], len(stored) < 4096 + 1024 + 128 * 1024) == (b"\x000" * 2048, True)
    assert stored.endswith(b"\x009" * 32 * 1024)
    assert await api.metric("airflow_edge_logs_truncated_total") == 1


async def test_a_failed_job_and_a_callback(v1: V1Client, db: Db) -> None:
    await v1.register("w1")
    (task,) = db.enqueue()
    fetched = await v1.fetch("w1")
    await v1.report(fetched, "running")
    await v1.report(fetched, "failed")
    assert db.state(task) == "failed"
    nothing: dict[str, Any] = dict.fromkeys(("dag_id", "task_id", "run_id", "map_index", "try_number"))
    (callback,) = db.enqueue(kind="callback", rank=0, **nothing)
    fetched = await v1.fetch("w1")
    assert (fetched["dag_id"], fetched["task_id"], fetched["try_number"]) == ("ExecuteCallback", str(callback), 0)
    fetched["task_instance_id"] = None
    await v1.call("PATCH", f"jobs/state/{path_of(fetched)}/success", json=None)
    assert db.state(callback) == "succeeded"


async def test_a_worker_without_queues_serves_all_of_them(v1: V1Client, db: Db, admin: AdminClient) -> None:
    await v1.register("w1", queues=None)
    assert (await v1.report_state("w1", "idle", queues=None))["queues"] is None
    assert (await admin.get("/workers/w1"))["queues"] == ["*"]
    (job,) = db.enqueue(queue="anything")
    assert (await v1.fetch("w1"))["task_instance_id"] == str(job)
    await admin.call("PATCH", "/workers/w1", json={"remove_queues": ["anything"]})
    db.enqueue(queue="anything")
    assert await v1.fetch("w1") is None


async def test_maintenance_from_this_side(v1: V1Client, db: Db, admin: AdminClient) -> None:
    await v1.register("w1")
    await v1.report_state("w1", "idle")
    db.enqueue()
    await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "disk"})
    assert await v1.fetch("w1") is None
    answer = await v1.report_state("w1", "idle")
    assert (answer["state"], answer["maintenance_comments"]) == ("maintenance request", "disk")
    answer = await v1.report_state("w1", "maintenance mode", maintenance_comments="disk")
    assert (answer["state"], (await admin.get("/workers/w1"))["state"]) == ("maintenance mode", "maintenance mode")
    await admin.call("DELETE", "/workers/w1/maintenance")
    assert (await admin.get("/workers/w1"))["state"] == "maintenance exit"
    answer = await v1.report_state("w1", "maintenance mode", maintenance_comments="disk")
    assert (answer["state"], answer["maintenance_comments"]) == ("idle", None)
    await v1.report_state("w1", "idle")
    assert (await admin.get("/workers/w1"))["state"] == "idle"
    assert await v1.fetch("w1") is not None


async def test_maintenance_of_the_host_and_over_a_restart(v1: V1Client, admin: AdminClient) -> None:
    await v1.register("w1")
    await v1.report_state("w1", "maintenance mode", maintenance_comments="hot")
    view = await admin.get("/workers/w1")
    assert (view["maintenance"]["comment"], view["maintenance"]["by"]) == ("hot", "worker w1")
    await v1.report_state("w1", "offline maintenance")
    assert (await admin.get("/workers/w1"))["state"] == "offline maintenance"
    await v1.register("w1")
    assert (await v1.report_state("w1", "idle"))["state"] == "maintenance request"
    await v1.report_state("w1", "maintenance mode", maintenance_comments="hot")
    assert (await v1.report_state("w1", "idle"))["state"] == "idle"
    assert (await admin.get("/workers/w1"))["maintenance"] is None


async def test_shutdown_queues_and_concurrency_from_this_side(v1: V1Client, admin: AdminClient) -> None:
    await v1.register("w1")
    await v1.call("PATCH", "worker/queues/w1", json={"new_queues": ["x", "y"], "remove_queues": ["default"]})
    await admin.call("PATCH", "/workers/w1", json={"concurrency": 7})
    answer = await v1.report_state("w1", "idle")
    assert (answer["queues"], answer["concurrency"]) == (["x", "y"], 7)
    await admin.call("PUT", "/workers/w1/shutdown")
    assert (await v1.report_state("w1", "idle"))["state"] == "shutdown request"
    await v1.report_state("w1", "offline")
    assert (await admin.get("/workers/w1"))["shutdown"] is False


async def test_statuses_of_refusals_are_those_of_edge3(v1: V1Client) -> None:
    await v1.report_state("w1", "idle", 404)
    await v1.fetch("w1", 404)
    await v1.register("w1")
    assert "already active" in (await v1.register("w1", 409))["detail"]
    no_version = {"state": "idle", "sysinfo": {"edge_provider_version": "5.1.0"}}
    await v1.call("POST", "worker/w2", 400, json=no_version)
    await v1.report_state("w1", "asleep", 422)


async def test_other_versions_are_cordoned_not_refused(v1: V1Client, db: Db, admin: AdminClient) -> None:
    db.rows("INSERT INTO edge.platform (key, value) VALUES ('airflow_version', '3.4.0')")
    await v1.register("w1")
    db.enqueue()
    await until(lambda: _cordoned(admin), "the policy has judged the worker")
    assert await v1.fetch("w1") is None


async def _cordoned(admin: AdminClient) -> bool:
    view = await admin.get("/workers/w1")
    return [reason["code"] for reason in view["cordon"]["reasons"]] == ["version"]


async def test_a_lease_of_a_v1_worker_that_vanished_is_lost(start_api: StartApi, db: Db) -> None:
    api = await start_api(v1_jwt_secret=SECRET, v1_heartbeat_interval_s=0.3, heartbeat_interval_s=0.3)
    async with v1_client(api.url) as v1:
        await v1.register("w1")
        (job,) = db.enqueue()
        await v1.report(await v1.fetch("w1"), "running")
        await until(lambda: db.state(job) == "lost", "lost")


async def test_a_restart_ends_the_leases_that_the_worker_held(v1: V1Client, db: Db) -> None:
    await v1.register("w1")
    running, leased = db.enqueue(2)
    first = await v1.fetch("w1")
    await v1.report(first, "running")
    await v1.fetch("w1")
    await v1.report_state("w1", "offline")
    assert {db.state(running), db.state(leased)} == {"lost", "queued"}


CLAIMS: list[dict[str, Any]] = [
    {"method": "jobs/fetch/w2"},
    {"method": None},
    {"aud": "other"},
    {"aud": None},
    {"exp": None},
    {"exp": int(time.time()) - 3600},
    {"iat": None},
    {"iat": int(time.time()) + 3600, "nbf": None},
    {"nbf": int(time.time()) + 3600},
]


async def test_bad_tokens_are_refused_and_audited(v1: V1Client, db: Db) -> None:
    path = "jobs/fetch/w1"
    good = {"queues": None, "free_concurrency": 1}
    for claims in CLAIMS:
        await v1.call("POST", path, 403, token(path, **claims), json=good)
    unsigned = token(path).rsplit(".", 1)[0] + "."
    for text in ("", "Bearer x", unsigned, token(path, secret="x" * 64)):
        problem = await v1.call("POST", path, 403, text, json=good)
        assert problem["detail"].strip()
    await until(lambda: db.rows("SELECT 1 FROM edge.audit WHERE action = 'refused.token_invalid'"), "audited")
    await until(lambda: db.rows("SELECT 1 FROM edge.audit WHERE action = 'refused.token_expired'"), "audited")


async def test_v1_calls_touch_no_enrolled_worker_and_no_lease_of_one(v1: V1Client, v1_api: ApiProcess, db: Db) -> None:
    await v1.register("w1")
    async with session(v1_api.url, worker_credential(db, "w2"), name="w2") as worker:
        await worker.send(heartbeat(free_slots=4))
        (job,) = db.enqueue()
        await worker.accept()
        name = named(db.job(job))
        await v1.report(name, "success")
        await v1.push(name, "forged")
        assert (db.state(job), db.log_of(db.job(job).lease_id)) == ("running", b"")
        await v1.register("w2", 403)
        await v1.report_state("w2", "idle", 403)
        await v1.fetch("w2", 403)
    await until(lambda: db.rows("SELECT 1 FROM edge.audit WHERE action = 'refused.foreign_lease'"), "audited")


async def test_a_team_is_not_the_workers_choice(v1: V1Client, db: Db) -> None:
    await v1.register("w1", team_name="blue")
    db.enqueue(team="blue")
    assert await v1.fetch("w1", team_name="blue") is None


BAD_NAMES = ["..%2f..%2fetc", "a%2fb", "a%00b", "-x", "x" * 254, "%C3%BC"]


async def test_names_that_are_no_names(v1_api: ApiProcess) -> None:
    async with aiohttp.ClientSession() as http:
        for name in BAD_NAMES:
            headers = {"Authorization": token(unquote(f"worker/{name}"))}
            url = URL(f"{v1_api.url}/edge_worker/v1/worker/{name}", encoded=True)
            async with http.post(url, headers=headers, json={"state": "idle", "sysinfo": {}}) as answer:
                assert answer.status in (404, 405, 422), (name, await answer.text())
