"""A worker's history and samples over the admin API."""

from typing import Any

from edge_testing.database.db import Db
from edge_testing.edge_api.admin import ELSEWHERE, MINE, OTHER_TEAM, AdminClient
from edge_testing.edge_api.credentials import enroll, worker_credential
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.session import Client, heartbeat, session
from edge_testing.waiting import until


async def events(client: AdminClient, name: str) -> list[dict[str, Any]]:
    """Return the history, the oldest first, read in pages of two."""
    found: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        page = await client.get(f"/workers/{name}/events", limit=2, **({"cursor": page["next"]} if found else {}))
        found += page["items"]
    return found[::-1]


async def test_everything_in_one_list(shared: ApiProcess, shared_db: Db, admin: AdminClient) -> None:
    shared_db.rows("DELETE FROM edge.audit")
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        await worker.send(heartbeat(free_slots=4))
        await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "disk"})
        await worker.expect("desired", maintenance=True)
        await worker.send(heartbeat(free_slots=4, maintenance_acknowledged=True))
        await until(lambda: _last_is(admin, "maintenance_reached"), "it is reached")
        await worker.send({"type": "bye"})
        await worker.closed()
    await admin.call("DELETE", "/workers/w1", 204)
    found = await events(admin, "w1")
    assert [each["kind"] for each in found] == [
        "worker.enroll",
        "connected",
        "worker.maintenance",
        "maintenance_reached",
        "disconnected",
        "worker.remove",
    ]
    assert found[2]["actor"].startswith("admin:anna:")
    assert (found[4]["source"], found[4]["actor"], found[4]["detail"]) == ("state", None, {"requested": False})
    assert found == sorted(found, key=lambda each: each["at"])
    await admin.get("/workers/w1/metrics", 404)
    for path in ("/workers/nobody/events", "/workers/nobody/metrics"):
        assert (await admin.get(path, 404))["code"] == "worker_unknown"
    for cursor in ("%%%", "MQ", "bm8gc3RhdGUgMQ"):
        await admin.get("/workers/w1/events", 422, cursor=cursor)


async def _last_is(admin: AdminClient, kind: str) -> bool:
    return bool((await admin.get("/workers/w1/events"))["items"][0]["kind"] == kind)


async def test_samples_of_whatever_a_worker_reports(shared: ApiProcess, shared_db: Db, admin: AdminClient) -> None:
    info = {"load1": 0.5, "cpu_percent": "hot", "memory_percent": 1e300, "disk_free_bytes": 1 << 40}
    async with session(shared.url, worker_credential(shared_db, "w1")) as worker:
        await worker.send(heartbeat(free_slots=3, sysinfo=info))
        [sample] = await until(lambda: _samples(admin), "a sample is there")
    del sample["at"]
    assert sample == {
        "slots": 4,
        "slots_used": 1,
        "jobs_active": 0,
        "load1": 0.5,
        "cpu_percent": None,
        "memory_percent": None,
        "disk_free_bytes": 1 << 40,
    }


async def _samples(admin: AdminClient) -> list[dict[str, Any]]:
    return list((await admin.get("/workers/w1/metrics"))["items"])


async def test_a_scope_shows_its_own_workers_alone(
    fleet: dict[str, Client], scoped: AdminClient, admin: AdminClient, shared_db: Db
) -> None:
    assert [each["kind"] for each in await events(scoped, MINE)] == ["connected"]
    await scoped.get(f"/workers/{MINE}/metrics")
    for name in (ELSEWHERE, OTHER_TEAM):
        for path in ("events", "metrics"):
            foreign = await scoped.get(f"/workers/{name}/{path}", 404)
            absent = await scoped.get(f"/workers/plant-9/{path}", 404)
            assert foreign == {**absent, "detail": absent["detail"].replace("plant-9", name)}
    # Also once they are removed; what the team saw of its own worker stays visible.
    for name, client in fleet.items():
        await client.send({"type": "bye"})
        await client.closed()
        await admin.call("DELETE", f"/workers/{name}", 204)
        assert (await admin.get(f"/workers/{name}/events"))["items"]
    assert "disconnected" in [each["kind"] for each in await events(scoped, MINE)]
    for name in (ELSEWHERE, OTHER_TEAM):
        await scoped.get(f"/workers/{name}/events", 404)
