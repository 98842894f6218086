"""Credentials and join tokens that an administrator of a part of the fleet can create, see and change."""

from typing import Any

import pytest

from edge_testing.database.db import Db
from edge_testing.edge_api.admin import BOUNDS, ELSEWHERE, MINE, OTHER_TEAM, AdminClient, admin_client
from edge_testing.edge_api.commands import edge_api
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.session import Client


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
