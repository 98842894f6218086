"""Credentials with role admin or read for a part of the fleet work for that part only."""

import asyncio
from uuid import uuid4

import pytest

from edge_protocol.admin import BulkAction
from edge_testing.database.db import Db
from edge_testing.edge_api.admin import BOUNDS, ELSEWHERE, MINE, OTHER_TEAM, AdminClient, admin_client
from edge_testing.edge_api.credentials import admin_credential, worker_credential
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.session import Client, heartbeat, session
from edge_testing.waiting import until


async def audited(db: Db, text: str) -> None:
    """Wait for the audit entry of a refusal that contains `text`; its actor is the caller's credential."""

    def found() -> bool:
        rows = db.rows("SELECT actor, detail FROM edge.audit WHERE action = 'refused.out_of_scope'")
        return any(row.actor.startswith("admin:anna:") and text in str(row.detail) for row in rows)

    await until(found, f"the refusal of {text} is in the audit trail")


async def test_sees_its_own_workers_alone(fleet: dict[str, Client], scoped: AdminClient, admin: AdminClient) -> None:
    assert [worker["name"] for worker in (await scoped.get("/workers"))["items"]] == [MINE]
    assert (await scoped.get("/workers", team="blue"))["items"] == []
    assert (await scoped.get(f"/workers/{MINE}"))["team"] == "red"
    (queue,) = (each for each in (await scoped.get("/queues"))["items"] if each["queue"] == "a")
    (whole,) = (each for each in (await admin.get("/queues"))["items"] if each["queue"] == "a")
    assert (queue["workers_capable"], whole["workers_capable"]) == (1, 3)
    assert {each["queue"] for each in (await scoped.get("/queues"))["items"]} == {"a"}


ON_A_WORKER = [
    ("GET", "", None),
    ("PATCH", "", {"concurrency": 1}),
    ("DELETE", "", None),
    ("PUT", "/maintenance", {"comment": "x"}),
    ("DELETE", "/maintenance", None),
    ("PUT", "/shutdown", None),
    ("DELETE", "/shutdown", None),
]


@pytest.mark.parametrize("name", [ELSEWHERE, OTHER_TEAM])
async def test_foreign_workers_do_not_exist(
    fleet: dict[str, Client], scoped: AdminClient, admin: AdminClient, shared_db: Db, name: str
) -> None:
    before = await admin.get(f"/workers/{name}")
    for method, path, body in ON_A_WORKER:
        shared_db.rows("DELETE FROM edge.audit")
        foreign = await scoped.call(method, f"/workers/{name}{path}", 404, json=body)
        absent = await scoped.call(method, f"/workers/plant-9{path}", 404, json=body)
        assert foreign == {**absent, "detail": absent["detail"].replace("plant-9", name)}
    after = await admin.get(f"/workers/{name}")
    unchanged = ("maintenance", "shutdown", "concurrency", "queues")
    assert [after[field] for field in unchanged] == [before[field] for field in unchanged]


async def test_foreign_workers_are_audited(fleet: dict[str, Client], shared: ApiProcess, shared_db: Db) -> None:
    for name in (ELSEWHERE, OTHER_TEAM):
        # Each uses its own credential, since repeats within a minute become one entry.
        async with admin_client(shared.url, admin_credential(shared_db, **BOUNDS)) as scoped:
            await scoped.get(f"/workers/{name}", 404)
        await audited(shared_db, name)


async def test_acts_on_its_own_workers(fleet: dict[str, Client], scoped: AdminClient) -> None:
    await scoped.call("PUT", f"/workers/{MINE}/maintenance", json={"comment": "disk"})
    await fleet[MINE].expect("desired", maintenance=True)
    await scoped.call("DELETE", f"/workers/{MINE}/maintenance")
    patched = await scoped.call("PATCH", f"/workers/{MINE}", json={"add_queues": ["b"], "remove_queues": ["c"]})
    assert patched["queues"] == ["a", "b"]
    assert (await scoped.call("DELETE", f"/workers/{MINE}/credentials"))["revoked"] == 1
    assert (await fleet[MINE].expect("error"))["code"] == "credential_revoked"


async def test_bulk_actions_reach_its_own_workers_alone(
    fleet: dict[str, Client], scoped: AdminClient, admin: AdminClient, shared_db: Db
) -> None:
    everything = {"action": BulkAction.SHUTDOWN, "filter": {}}
    results = (await scoped.call("POST", "/workers/bulk", json=everything))["results"]
    assert [(each["name"], each["code"]) for each in results] == [(MINE, "done")]
    named = {"action": BulkAction.MAINTENANCE, "comment": "x", "names": [MINE, ELSEWHERE, OTHER_TEAM, "plant-9"]}
    results = (await scoped.call("POST", "/workers/bulk", json=named))["results"]
    assert {each["name"]: each["code"] for each in results} == {
        MINE: "done",
        ELSEWHERE: "worker_unknown",
        OTHER_TEAM: "worker_unknown",
        "plant-9": "worker_unknown",
    }
    await audited(shared_db, f"bulk maintenance {OTHER_TEAM} {ELSEWHERE}")
    for name in (ELSEWHERE, OTHER_TEAM):
        worker = await admin.get(f"/workers/{name}")
        assert (worker["maintenance"], worker["shutdown"]) == (None, False)


async def test_queues_outside_of_the_scope(fleet: dict[str, Client], scoped: AdminClient, shared_db: Db) -> None:
    problem = await scoped.call("PATCH", f"/workers/{MINE}", 403, json={"add_queues": ["b", "secret"]})
    assert problem["code"] == "out_of_scope"
    assert "secret" in problem["detail"]
    assert "administrator of the whole fleet" in problem["detail"]
    assert (await scoped.get(f"/workers/{MINE}"))["queues_added"] == []
    await audited(shared_db, "PATCH")
    assert (await scoped.get("/queues/c", 403))["code"] == "out_of_scope"


async def test_jobs_on_its_workers_and_waiting_in_its_queues(
    fleet: dict[str, Client], scoped: AdminClient, shared_db: Db
) -> None:
    await scoped.call("PUT", f"/workers/{MINE}/maintenance", json={"comment": "the other one is to take it"})
    (elsewhere,) = shared_db.enqueue(queue="a", team="red")
    await fleet[ELSEWHERE].accept()
    await fleet[ELSEWHERE].send(heartbeat(free_slots=0))
    await scoped.call("DELETE", f"/workers/{MINE}/maintenance")
    (foreign_team,) = shared_db.enqueue(queue="a", team="blue", slots=9)
    (foreign_queue,) = shared_db.enqueue(queue="d", team="red")
    (waiting,) = shared_db.enqueue(queue="a", team="red", slots=9)
    listed = {each["id"] for each in (await scoped.get("/jobs"))["items"]}
    assert listed == {str(waiting)}
    assert (await scoped.get(f"/jobs/{waiting}"))["queue"] == "a"
    explanation = await scoped.get(f"/jobs/{waiting}/explain")
    assert {each["name"] for each in explanation["workers"]} == {MINE}
    assert ELSEWHERE not in str(explanation)
    assert "plant-*" in explanation["message"]
    absent = await scoped.get(f"/jobs/{uuid4()}", 404)
    for job in (elsewhere, foreign_team, foreign_queue):
        for path in (f"/jobs/{job}", f"/jobs/{job}/explain"):
            assert (await scoped.get(path, 404))["code"] == absent["code"] == "job_unknown"
    await audited(shared_db, str(elsewhere))
    depths = {each["queue"]: each["depth"] for each in (await scoped.get("/queues"))["items"]}
    assert depths == {"a": 1}


async def test_the_audit_trail_of_its_own_workers(
    fleet: dict[str, Client], scoped: AdminClient, admin: AdminClient
) -> None:
    for name in (MINE, ELSEWHERE, OTHER_TEAM):
        await admin.call("PUT", f"/workers/{name}/maintenance", json={"comment": "x"})
    await admin.call("POST", "/tokens", 201, json={})
    assert {each["object"] for each in (await scoped.get("/audit", limit=1000))["items"]} == {f"worker/{MINE}"}
    assert (await scoped.get("/audit", object=f"worker/{ELSEWHERE}"))["items"] == []


async def test_the_change_stream_reports_its_own_workers_alone(
    fleet: dict[str, Client], scoped: AdminClient, admin: AdminClient
) -> None:
    async with scoped.changes() as changes:
        seen = []
        while (event := await changes.next())[0] != "ready":
            seen.append((event[0], event[1].get("name")))
        assert seen == [("reset", None), ("worker", MINE)]
        for name in (ELSEWHERE, OTHER_TEAM, MINE):
            await admin.call("PUT", f"/workers/{name}/maintenance", json={"comment": "x"})
        for client in fleet.values():
            await client.send({"type": "bye"})
            await client.closed()
        for name in (ELSEWHERE, OTHER_TEAM, MINE):
            await admin.call("DELETE", f"/workers/{name}", 204)
        names = set()
        while (event := await changes.next())[0] != "removed":
            names.add(event[1]["name"])
        assert (names, event[1]) == ({MINE}, {"name": MINE})


async def test_a_worker_that_goes_over_to_another_team_is_gone_for_the_first(
    fleet: dict[str, Client], shared: ApiProcess, shared_db: Db, scoped: AdminClient
) -> None:
    async with scoped.changes() as changes:
        await changes.until("ready")
        await fleet[MINE].send({"type": "bye"})
        await fleet[MINE].closed()
        async with session(shared.url, worker_credential(shared_db, MINE, team="blue"), name=MINE):
            await asyncio.wait_for(changes.until("removed", name=MINE), 10)
            place = changes.last_id
    async with scoped.changes(place) as changes:
        assert [await changes.next(), (await changes.next())[0]] == [("reset", {}), "ready"]


async def test_a_name_alone_and_open_bounds(
    fleet: dict[str, Client], shared: ApiProcess, shared_db: Db, admin: AdminClient
) -> None:
    async with admin_client(shared.url, admin_credential(shared_db, worker_pattern=MINE)) as one:
        assert [worker["name"] for worker in (await one.get("/workers"))["items"]] == [MINE]
        await one.get("/workers/plant-11", 404)
        assert (await one.call("PATCH", f"/workers/{MINE}", json={"add_queues": ["any"]}))["queues_added"] == ["any"]
        assert (await one.call("POST", "/tokens", 403, json={"worker_pattern": "plant-1*"}))["code"] == "out_of_scope"
        assert (await one.call("POST", "/tokens", 201, json={}))["worker_pattern"] == MINE
