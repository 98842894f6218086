"""Calls on behalf of people: who did it is the person, what they may do is the credential's."""

import json
from pathlib import Path

import aiohttp
import pytest

from edge_api.identity import tokens
from edge_protocol.admin import ADMIN_PATH, ON_BEHALF_HEADER, encode_name
from edge_protocol.frames import BY_HEALTH
from edge_testing.database.db import Db
from edge_testing.edge_api.admin import BOUNDS, ELSEWHERE, MINE, AdminClient, admin_client
from edge_testing.edge_api.commands import edge_api
from edge_testing.edge_api.credentials import admin_credential, worker_credential
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.session import Client, heartbeat, session
from edge_testing.waiting import until


async def test_maintenance_and_the_audit_trail_name_the_person(
    shared: ApiProcess, shared_db: Db, admin: AdminClient
) -> None:
    shared_db.rows("DELETE FROM edge.audit")
    credential = admin_credential(shared_db, on_behalf=True)
    async with (
        session(shared.url, worker_credential(shared_db, "w1")) as worker,
        admin_client(shared.url, credential) as page,
    ):
        await worker.send(heartbeat(free_slots=4))
        page.headers[ON_BEHALF_HEADER] = encode_name("Änna, the 1st")
        view = await page.call("PUT", "/workers/w1/maintenance", json={"comment": "disk"})
        assert view["maintenance"]["by"] == "Änna, the 1st"
        assert (await worker.expect("desired", maintenance=True))["maintenance_by"] == "Änna, the 1st"
        del page.headers[ON_BEHALF_HEADER]
        view = await page.call("PUT", "/workers/w1/maintenance", json={"comment": "disk"})
        assert view["maintenance"]["by"] == "anna"
    (entry,) = (await admin.get("/audit", actor="user:Änna"))["items"]
    assert entry["action"] == "worker.maintenance"
    assert entry["actor"].startswith("user:Änna, the 1st via admin:anna:")


async def test_nobody_can_be_taken_for_the_worker_itself(shared: ApiProcess, shared_db: Db) -> None:
    """A worker ends the maintenance that its host or its health check began, but never that of a person."""
    async with (
        session(shared.url, worker_credential(shared_db, "w1")),
        admin_client(shared.url, admin_credential(shared_db, on_behalf=True)) as page,
    ):
        page.headers[ON_BEHALF_HEADER] = encode_name(BY_HEALTH)
        view = await page.call("PUT", "/workers/w1/maintenance", json={"comment": "disk"})
        assert view["maintenance"]["by"] == f"user {BY_HEALTH}"


async def test_other_credentials_may_not_name_anybody(admin: AdminClient, shared_db: Db) -> None:
    admin.headers[ON_BEHALF_HEADER] = "bob"
    for method, path in (("GET", "/workers"), ("POST", "/tokens")):
        refusal = await admin.call(method, path, 403, json={})
        assert refusal["code"] == "on_behalf_refused"
        assert "--on-behalf" in refusal["detail"]
    await until(
        lambda: bool(shared_db.rows("SELECT 1 FROM edge.audit WHERE action = 'refused.on_behalf_refused'")), "noted"
    )


@pytest.mark.parametrize("header", ["", "%20", "a%0Ab", "%ff", "x" * 257, "anna,bob"])
async def test_a_name_that_can_not_be_shown_is_refused(shared: ApiProcess, shared_db: Db, header: str) -> None:
    async with admin_client(shared.url, admin_credential(shared_db, on_behalf=True)) as page:
        page.headers[ON_BEHALF_HEADER] = header
        assert (await page.get("/workers", 422))["code"] == "on_behalf_invalid"


async def test_two_names_are_none(shared: ApiProcess, shared_db: Db) -> None:
    credential = admin_credential(shared_db, on_behalf=True)
    headers = [("Authorization", f"Bearer {credential}"), (ON_BEHALF_HEADER, "anna"), (ON_BEHALF_HEADER, "bob")]
    async with aiohttp.ClientSession() as http, http.get(f"{shared.url}{ADMIN_PATH}/workers", headers=headers) as got:
        assert got.status == 422


async def test_a_scope_stays_and_does_not_hand_on_the_right(
    fleet: dict[str, Client], shared: ApiProcess, shared_db: Db, admin: AdminClient
) -> None:
    async with admin_client(shared.url, admin_credential(shared_db, on_behalf=True, **BOUNDS)) as page:
        page.headers[ON_BEHALF_HEADER] = "bob"
        assert [worker["name"] for worker in (await page.get("/workers"))["items"]] == [MINE]
        await page.call("PUT", f"/workers/{ELSEWHERE}/maintenance", 404, json={"comment": "x"})
        body = {"role": "admin", "label": "x"}
        assert (await page.call("POST", "/credentials", 201, json=body))["on_behalf"] is False
        refusal = await page.call("POST", "/credentials", 403, json={**body, "on_behalf": True})
        assert refusal["code"] == "out_of_scope"
    await until(
        lambda: bool(shared_db.rows("SELECT 1 FROM edge.audit WHERE actor LIKE 'user:bob via admin:anna:%'")), "noted"
    )
    created = await admin.call("POST", "/credentials", 201, json={**body, "on_behalf": True})
    assert created["on_behalf"] is True
    assert (await admin.get(f"/credentials/{created['id']}"))["on_behalf"] is True


async def test_commands_create_and_list_such_credentials(shared: ApiProcess, shared_db: Db, tmp_path: Path) -> None:
    made = edge_api(shared_db.url, "credential", "create", "--role", "read", "--on-behalf", "--label", "page")
    async with admin_client(shared.url, made.stdout.strip()) as page:
        page.headers[ON_BEHALF_HEADER] = "bob"
        await page.get("/workers")
    (listed,) = json.loads(edge_api(shared_db.url, "credential", "list", "-o", "json").stdout)
    assert (listed["label"], listed["on_behalf"]) == ("page", True)

    file = tmp_path / "credential"
    file.write_text(tokens.mint(tokens.ADMIN).text)
    ensure = ("credential", "ensure", "--secret-file", str(file), "--role", "admin", "--label", "page")
    for said in ("created", "valid"):
        assert said in edge_api(shared_db.url, *ensure, "--on-behalf").stdout
    assert "another credential" in edge_api(shared_db.url, *ensure).stderr
