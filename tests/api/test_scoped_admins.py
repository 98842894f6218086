"""Credentials of role admin and read for a part of the fleet: that they are good for it, and for nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest

from edge_protocol.admin import BulkAction
from tests.api.admin_kit import AdminClient, admin_client, admin_credential, worker_credential
from tests.api.kit import ApiProcess, Client, Db, edge_api, heartbeat, session, until

MINE, ELSEWHERE, OTHER_TEAM = "plant-1", "shop-1", "plant-2"
BOUNDS: dict[str, Any] = {"worker_pattern": "plant-*", "team": "red", "queues": ["a", "b"]}


@pytest.fixture
async def fleet(shared: ApiProcess, shared_db: Db) -> AsyncIterator[dict[str, Client]]:
    """One worker in the scope, one with another name and one of another team, all of the same queues."""
    clients = {}
    async with AsyncExitStack() as stack:
        for name, team in ((MINE, "red"), (ELSEWHERE, "red"), (OTHER_TEAM, "blue")):
            credential = worker_credential(shared_db, name, team=team, queues=["a", "c"])
            client = await stack.enter_async_context(session(shared.url, credential, name=name))
            await client.send(heartbeat(free_slots=4))
            clients[name] = client
        yield clients


@pytest.fixture
async def admin(shared: ApiProcess, shared_db: Db) -> AsyncIterator[AdminClient]:
    async with admin_client(shared.url, admin_credential(shared_db)) as client:
        yield client


@pytest.fixture
async def scoped(shared: ApiProcess, shared_db: Db) -> AsyncIterator[AdminClient]:
    async with admin_client(shared.url, admin_credential(shared_db, **BOUNDS)) as client:
        yield client


async def audited(db: Db, text: str) -> None:
    """Wait for the entry of a refusal that names `text`; the caller's credential is its actor."""

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
        # A credential each: the repeats of a minute become one entry.
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


@pytest.mark.parametrize(
    "bounds",
    [
        {"worker_pattern": "*"},
        {"worker_pattern": "pl*"},
        {"worker_pattern": "[p]lant-*"},
        {"worker_pattern": "plant-1", "team": "blue"},
        {"worker_pattern": "plant-1", "queues": ["a", "c"]},
    ],
)
async def test_join_tokens_beyond_the_scope(scoped: AdminClient, shared_db: Db, bounds: dict[str, Any]) -> None:
    count = "SELECT count(*) AS tokens FROM edge.join_token"
    before = shared_db.rows(count)
    assert (await scoped.call("POST", "/tokens", 403, json=bounds))["code"] == "out_of_scope"
    assert shared_db.rows(count) == before


async def test_join_tokens(scoped: AdminClient, admin: AdminClient) -> None:
    made = await scoped.call("POST", "/tokens", 201, json={"worker_pattern": "plant-[12]", "queues": None})
    assert (made["worker_pattern"], made["team"], made["queues"]) == ("plant-[12]", "red", ["a", "b"])
    widest = await scoped.call("POST", "/tokens", 201, json={"queues": ["b"]})
    assert (widest["worker_pattern"], widest["queues"]) == ("plant-*", ["b"])
    foreign = await admin.call("POST", "/tokens", 201, json={"worker_pattern": "plant-1"})
    listed = {each["id"] for each in (await scoped.get("/tokens"))["items"]}
    assert ({made["id"], widest["id"]} <= listed, foreign["id"] in listed) == (True, False)
    await scoped.call("DELETE", f"/tokens/{made['id']}", 204)
    assert (await scoped.call("DELETE", f"/tokens/{foreign['id']}", 404))["code"] == "token_unknown"
    (kept,) = (each for each in (await admin.get("/tokens"))["items"] if each["id"] == foreign["id"])
    assert kept["revoked_at"] is None


@pytest.mark.parametrize(
    "bounds",
    [{"worker_pattern": "p*"}, {"worker_pattern": "shop-1"}, {"team": "blue"}, {"queues": ["a", "c"]}],
)
async def test_credentials_beyond_the_scope(scoped: AdminClient, shared_db: Db, bounds: dict[str, Any]) -> None:
    body = {"role": "admin", "label": "more", **bounds}
    assert (await scoped.call("POST", "/credentials", 403, json=body))["code"] == "out_of_scope"
    assert shared_db.rows("SELECT 1 FROM edge.credential WHERE label = 'more'") == []


@pytest.mark.parametrize("pattern", ["*", "", "a*b", "[ab]", "-a*", "a**", "ä*"])
async def test_patterns_of_a_scope_are_names_or_prefixes(admin: AdminClient, pattern: str) -> None:
    body = {"role": "admin", "label": "x", "worker_pattern": pattern}
    assert (await admin.call("POST", "/credentials", 422, json=body))["code"] == "invalid_request"


async def test_credentials(shared: ApiProcess, scoped: AdminClient, admin: AdminClient, fleet: dict[str, Any]) -> None:
    mine = (await scoped.get("/credentials"))["items"]
    assert {(each["worker"], each["worker_pattern"]) for each in mine} == {(None, "plant-*"), (MINE, None)}
    (own,) = (each for each in mine if each["worker"] is None)
    made = await scoped.call("POST", "/credentials", 201, json={"role": "read", "label": "x", "expires_s": 10**7})
    assert {name: made[name] for name in BOUNDS} == BOUNDS
    assert made["expires_at"] == own["expires_at"]
    async with admin_client(shared.url, made["credential"]) as reader:
        assert [worker["name"] for worker in (await reader.get("/workers"))["items"]] == [MINE]
        assert (await reader.call("PUT", f"/workers/{MINE}/shutdown", 403))["code"] == "read_only"
    await scoped.call("DELETE", f"/credentials/{made['id']}", 204)
    for foreign in (each for each in (await admin.get("/credentials"))["items"] if each["worker"] != MINE):
        if foreign["worker_pattern"] is None:
            await scoped.get(f"/credentials/{foreign['id']}", 404)
            await scoped.call("DELETE", f"/credentials/{foreign['id']}", 404)
            await scoped.call("PATCH", f"/credentials/{foreign['id']}", 404, json={"queues": ["a"]})
            assert (await admin.get(f"/credentials/{foreign['id']}"))["revoked_at"] is None
    assert (await scoped.call("DELETE", f"/workers/{ELSEWHERE}/credentials", 404))["code"] == "worker_unknown"
    assert (await scoped.call("DELETE", f"/workers/{OTHER_TEAM}/credentials"))["revoked"] == 0


async def test_grants_of_its_workers_stay_inside_the_scope(scoped: AdminClient, fleet: dict[str, Client]) -> None:
    (granted,) = (await scoped.get("/credentials", worker=MINE))["items"]
    path = f"/credentials/{granted['id']}"
    assert (await scoped.call("PATCH", path, 403, json={"queues": ["a", "c"]}))["code"] == "out_of_scope"
    assert (await scoped.call("PATCH", path, json={"queues": ["b"]}))["queues"] == ["b"]
    assert (await scoped.call("PATCH", path, json={"queues": None}))["queues"] == ["a", "b"]


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


async def test_the_change_stream_tells_of_its_own_workers_alone(
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


async def test_made_and_listed_by_the_command(shared: ApiProcess, shared_db: Db, fleet: dict[str, Client]) -> None:
    bounds = ("--worker-pattern", "plant-*", "--team", "red", "--queues", "a,b")
    made = edge_api(shared_db.url, "credential", "create", "--role", "admin", "--label", "site", *bounds)
    assert made.returncode == 0, made.stderr
    async with admin_client(shared.url, made.stdout.strip()) as scoped:
        assert [worker["name"] for worker in (await scoped.get("/workers"))["items"]] == [MINE]
    listed = edge_api(shared_db.url, "credential", "list", "-o", "plain").stdout.splitlines()
    (line,) = (line for line in listed if " site " in line)
    assert line.split()[3:7] == ["-", "plant-*", "red", "a,b"]
    for bad in (("--worker-pattern", "*"), ("--worker-pattern", "a[b]"), ("--team", ""), ("--queues", "")):
        done = edge_api(shared_db.url, "credential", "create", "--role", "admin", *bad)
        assert (done.returncode, done.stdout) == (2, "")
        assert bad[0] in done.stderr.splitlines()[-1]
