"""The admin API: what administrators do with workers, jobs and queues, against a real API process."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from edge_testing.database.db import Db
from edge_testing.edge_api.admin import AdminClient, admin_client
from edge_testing.edge_api.credentials import admin_credential, enroll, worker_credential
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import heartbeat, session
from edge_testing.waiting import until


@pytest.fixture
async def admin(shared: ApiProcess, shared_db: Db) -> AsyncIterator[AdminClient]:
    shared_db.rows("DELETE FROM edge.audit")
    async with admin_client(shared.url, admin_credential(shared_db)) as client:
        yield client


async def state(admin: AdminClient, name: str = "w1") -> str:
    return str((await admin.get(f"/workers/{name}"))["state"])


async def test_life_of_a_worker_as_people_see_it(shared: ApiProcess, shared_db: Db, admin: AdminClient) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    shared_db.enqueue()
    async with session(shared.url, credential) as worker:
        await worker.send(heartbeat())
        lease = await worker.accept()
        await worker.send(heartbeat(lease, free_slots=3))
        await until(lambda: _is(admin, "running"), "running")
        view = await admin.get("/workers/w1")
        assert (view["slots_used"], view["slots_free"], view["jobs_active"]) == (1, 3, 1)

        view = await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "  the disk "})
        assert view["state"] == "maintenance request"
        assert (view["maintenance"]["comment"], view["maintenance"]["by"]) == ("the disk", "anna")
        assert [reason["code"] for reason in view["cordon"]["reasons"]] == ["maintenance"]
        await worker.expect("desired", maintenance=True, maintenance_comment="the disk")
        (waiting,) = shared_db.enqueue()
        await worker.send(heartbeat(lease, free_slots=3, maintenance_acknowledged=True))
        await until(lambda: _is(admin, "maintenance pending"), "pending")
        explanation = await admin.get(f"/jobs/{waiting}/explain")
        assert (explanation["verdict"], "the disk" in explanation["message"]) == ("cordoned", True)
        await worker.report(lease)
        await worker.send(heartbeat(maintenance_acknowledged=True, free_slots=4))
        await until(lambda: _is(admin, "maintenance mode"), "mode")

        view = await admin.call("DELETE", "/workers/w1/maintenance")
        assert (view["state"], view["maintenance"]) == ("maintenance exit", None)
        await worker.expect("desired", maintenance=False)
        await worker.send(heartbeat(free_slots=4))
        lease = await worker.accept()
        await worker.report(lease)
        assert (await admin.get(f"/jobs/{waiting}"))["state"] == "succeeded"

        view = await admin.call("PUT", "/workers/w1/shutdown")
        assert view["state"] == "shutdown request"
        await worker.expect("desired", shutdown=True)
        await admin.call("DELETE", "/workers/w1", 409)
        await worker.send(heartbeat(terminating=True, free_slots=4))
        await until(lambda: _is(admin, "terminating"), "terminating")
        assert (await admin.call("DELETE", "/workers/w1/shutdown", 409))["code"] == "worker_terminating"
        await worker.send({"type": "bye"})
        await until(lambda: _is(admin, "offline"), "offline")
    await admin.call("DELETE", "/workers/w1", 204)
    await admin.get("/workers/w1", 404)
    actions = [entry["action"] for entry in (await admin.get("/audit", object="worker/w1"))["items"]]
    assert actions[:4] == ["worker.remove", "worker.shutdown", "worker.exit_maintenance", "worker.maintenance"]
    assert actions[4:] == ["worker.enroll"]
    assert (await admin.get("/audit", actor="admin:anna"))["items"][0]["object"] == "worker/w1"


async def _is(admin: AdminClient, wanted: str) -> bool:
    return await state(admin) == wanted


async def test_queues_and_concurrency_change_without_a_restart(
    shared: ApiProcess, shared_db: Db, admin: AdminClient
) -> None:
    credential = worker_credential(shared_db, "w1", queues=["a", "b"])
    async with session(shared.url, credential) as worker:
        await worker.send(heartbeat(free_slots=4))
        body: dict[str, Any] = {"add_queues": ["extra"], "remove_queues": ["a"], "concurrency": 2}
        view = await admin.call("PATCH", "/workers/w1", json=body)
        assert (view["queues"], view["concurrency"]) == (["b", "extra"], 2)
        await worker.expect("desired", queues=["b", "extra"], concurrency=2)
        shared_db.enqueue(queue="a")
        (job,) = shared_db.enqueue(queue="extra")
        lease = await worker.accept()
        assert shared_db.job(job).lease_id is not None
        await worker.report(lease)
        queues = {each["queue"]: each for each in (await admin.get("/queues"))["items"]}
        assert (queues["a"]["depth"], queues["a"]["workers_capable"]) == (1, 0)
        assert (queues["extra"]["depth"], queues["extra"]["slots_free"]) == (0, 2)
        assert (await admin.get("/queues/a"))["oldest_s"] >= 0
        view = await admin.call("PATCH", "/workers/w1", json={"concurrency": None})
        assert view["concurrency_override"] is None
        await worker.expect("desired", concurrency=4)


async def test_lists_filter_and_page(shared: ApiProcess, shared_db: Db, admin: AdminClient) -> None:
    fleet: dict[str, dict[str, Any]] = {"plant-1": {"queues": ["a"]}, "plant-2": {"team": "blue"}, "shop-1": {}}
    for name, scopes in fleet.items():
        async with session(shared.url, worker_credential(shared_db, name, **scopes), name=name) as worker:
            await worker.send(heartbeat(free_slots=4), {"type": "bye"})
            await worker.closed()

    async def names(**filters: Any) -> list[str]:
        return [worker["name"] for worker in (await admin.get("/workers", **filters))["items"]]

    assert await names() == ["plant-1", "plant-2", "shop-1"]
    assert await names(name="plant-*") == ["plant-1", "plant-2"]
    assert await names(team="blue") == ["plant-2"]
    assert await names(queue=["a", "x"]) == ["plant-1"]
    assert await names(state=["idle", "running"]) == []
    assert await names(state="offline", name="s*") == ["shop-1"]
    first = await admin.get("/workers", limit=2)
    rest = await admin.get("/workers", limit=2, cursor=first["next"])
    assert [worker["name"] for worker in first["items"] + rest["items"]] == ["plant-1", "plant-2", "shop-1"]
    assert rest["next"] is None
    await admin.get("/workers", 422, cursor="%%%")
    assert "state" in (await admin.get("/workers", 422, state="sleeping"))["detail"]


async def test_bulk_returns_each_workers_result(shared: ApiProcess, shared_db: Db, admin: AdminClient) -> None:
    names = ["w1", "w2"]
    for name in names:
        async with session(shared.url, worker_credential(shared_db, name), name=name) as worker:
            await worker.send(heartbeat(free_slots=4), {"type": "bye"})
            await worker.closed()
    body = {"action": "maintenance", "comment": "network works", "filter": {"name": "w*"}}
    results = (await admin.call("POST", "/workers/bulk", json=body))["results"]
    assert [(each["name"], each["ok"]) for each in results] == [("w1", True), ("w2", True)]
    assert await state(admin, "w2") == "offline maintenance"
    body = {"action": "shutdown", "names": ["w1", "nobody"]}
    results = (await admin.call("POST", "/workers/bulk", json=body))["results"]
    assert [(each["name"], each["code"]) for each in results] == [
        ("nobody", "worker_unknown"),
        ("w1", "worker_not_alive"),
    ]
    body = {"action": "remove", "filter": {}}
    assert all(each["ok"] for each in (await admin.call("POST", "/workers/bulk", json=body))["results"])
    assert (await admin.get("/workers"))["items"] == []


BAD: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/workers/nobody", None, 404, "no worker nobody"),
    ("PUT", "/workers/nobody/maintenance", {"comment": "x"}, 404, "no worker nobody"),
    ("PUT", "/workers/w1/maintenance", {}, 422, "comment"),
    ("PUT", "/workers/w1/maintenance", {"comment": " "}, 422, "comment"),
    ("PUT", "/workers/w1/maintenance", {"comment": "x" * 1025}, 422, "1024"),
    ("PUT", "/workers/w1/maintenance", {"comment": "a\x00b"}, 422, "database"),
    ("PUT", "/workers/w1/maintenance", {"comment": "\ud800"}, 422, "comment"),
    ("GET", "/workers?team=%00", None, 422, "database"),
    ("PATCH", "/workers/w1", {"add_queues": ["q" * 257]}, 422, "256"),
    ("PATCH", "/workers/w1", {"concurrency": 0}, 422, "greater than or equal to 1"),
    ("PATCH", "/workers/w1", {"add_queues": ["q"], "remove_queues": ["q"]}, 422, "added and removed"),
    ("PATCH", "/workers/w1", {"color": "red"}, 422, "color"),
    ("POST", "/workers/bulk", {"action": "maintenance", "filter": {}}, 422, "comment"),
    ("POST", "/workers/bulk", {"action": "shutdown"}, 422, "names or a filter"),
    ("GET", "/workers/..%2f..%2fetc%2fpasswd", None, 404, "nothing"),
    ("GET", "/workers/a%00b", None, 422, "name"),
    ("GET", "/jobs/not-a-uuid", None, 422, "job_id"),
    ("GET", f"/jobs/{uuid4()}", None, 404, "no job"),
    ("GET", "/jobs?limit=0", None, 422, "limit"),
    ("GET", "/nothing", None, 404, "nothing"),
    ("POST", "/queues", None, 405, "method"),
    ("DELETE", f"/tokens/{uuid4()}", None, 404, "no join token"),
    ("DELETE", f"/credentials/{uuid4()}", None, 404, "no credential"),
    ("POST", "/tokens", {"expires_s": 0}, 422, "expires_s"),
    ("POST", "/credentials", {"role": "worker", "label": "x"}, 422, "role"),
]


async def test_bad_input_has_one_clear_line(admin: AdminClient) -> None:
    for method, path, body, status, said in BAD:
        found = await admin.call(method, path, status, json=body)
        assert said in found["detail"], (method, path, found)
        assert "\n" not in found["detail"]


async def test_two_replicas_share_one_fleet(start_api: StartApi, db: Db) -> None:
    one, other = await start_api(), await start_api()
    credential = worker_credential(db, "w1")
    async with session(one.url, credential) as worker, admin_client(other.url, admin_credential(db)) as admin:
        await worker.send(heartbeat(free_slots=4))
        await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "x"})
        await worker.expect("desired", maintenance=True)
