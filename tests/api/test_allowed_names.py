"""A credential's lists of Connections and Variables: what its tasks may use, and what it may grant to others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import aiohttp
import pytest
from yarl import URL

from edge_api.identity import tokens
from edge_demo.environment import LOCALHOST, free_port
from edge_protocol.execution import EXECUTION_PATH, TASK_HEADER
from edge_protocol.rest import ENROLL_PATH, ROTATE_PATH
from edge_testing.database.db import Db
from edge_testing.edge_api.admin import AdminClient, admin_client
from edge_testing.edge_api.commands import edge_api, join_token
from edge_testing.edge_api.credentials import admin_credential, bearer, enroll, worker_credential
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import session
from edge_testing.edge_api.upstream import Upstream
from edge_testing.waiting import until
from edge_testing.workers.workload import task_token

NAMES = ("--connections", "db,press_*", "--variables", "plant_*")


class Task(NamedTuple):
    """A running task, and what is on both sides of it."""

    api: ApiProcess
    airflow: Upstream
    credential: str
    lease: str
    token: str

    async def call(self, method: str, path: str, credential: str | None = None) -> tuple[int, Any]:
        """Make a call and return its status and the code of a refusal; only what is not refused reaches Airflow."""
        self.airflow.calls.clear()
        url = URL(f"{self.api.url}{EXECUTION_PATH}/{self.lease}/{path}", encoded=True)
        headers = {**bearer(credential or self.credential), TASK_HEADER: self.token}
        async with aiohttp.ClientSession() as http, http.request(method, url, headers=headers) as answer:
            body = {} if method == "HEAD" else await answer.json(content_type=None)
        assert [seen.path for seen in self.airflow.calls] == ([f"/execution/{path}"] if answer.status == 200 else [])
        return answer.status, body.get("code")


@pytest.fixture
async def airflow() -> AsyncIterator[Upstream]:
    async with Upstream().serve() as upstream:
        yield upstream


@pytest.fixture
async def forwarding(start_api: StartApi, airflow: Upstream) -> ApiProcess:
    return await start_api(execution_api_url=airflow.url)


@asynccontextmanager
async def running(api: ApiProcess, airflow: Upstream, db: Db, credential: str, name: str = "w1") -> AsyncIterator[Task]:
    """Let a worker run a job."""
    [job] = db.enqueue()
    async with session(api.url, credential, name=name) as worker:
        yield Task(api, airflow, credential, await worker.accept(), task_token(job))


ALLOWED, REFUSED = (200, None), (403, "name_not_allowed")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "POST"])
async def test_only_listed_names_pass(forwarding: ApiProcess, airflow: Upstream, db: Db, method: str) -> None:
    credential = await enroll(forwarding.url, db.url, "w1", *NAMES)
    async with running(forwarding, airflow, db, credential) as task:
        for path in ("connections/db", "connections/press_1", "variables/plant_%61", "variables/plant_/x", "dags/x"):
            assert await task.call(method, path) == ALLOWED, path
        for path in (
            "connections/db2",
            "connections/plant_a",
            "connections",
            "variables/db",
            "variables/plan",
            "variables/keys",
            "variables/",
            "variables//plant_a",
            "variables/plant_%2561",
            "variables/plant_a/",
        ):
            assert await task.call(method, path) == REFUSED, path


async def test_without_lists_and_with_empty_ones(forwarding: ApiProcess, airflow: Upstream, db: Db) -> None:
    async with running(forwarding, airflow, db, await enroll(forwarding.url, db.url, "w1")) as task:
        for path in ("connections/any", "variables/any", "variables/keys?prefix=x", "variables//a", "variables/%2561"):
            assert await task.call("GET", path) == ALLOWED, path
    none = await enroll(forwarding.url, db.url, "w2", "--connections", "", "--variables", "*")
    async with running(forwarding, airflow, db, none, "w2") as task:
        assert await task.call("GET", "connections/any") == REFUSED
        assert await task.call("GET", "variables/any") == ALLOWED
        assert await task.call("GET", "variables/keys?limit=1") == ALLOWED
        assert (await task.call("HEAD", "connections/any"))[0] == 403


async def test_a_refusal_says_how_to_allow_the_name_and_is_audited(
    forwarding: ApiProcess, airflow: Upstream, db: Db
) -> None:
    credential = worker_credential(db, "w1", variables=["a"])
    async with running(forwarding, airflow, db, credential) as task:
        url = f"{forwarding.url}{EXECUTION_PATH}/{task.lease}/variables/secret"
        headers = {**bearer(credential), TASK_HEADER: task.token}
        body = {"val": "hunter2", "description": "hunter2"}
        async with aiohttp.ClientSession() as http, http.put(url, headers=headers, json=body) as answer:
            problem = await answer.json(content_type="application/problem+json")
        parsed = tokens.parse(credential, tokens.CREDENTIAL)
        assert parsed is not None
        assert (answer.status, problem["code"]) == REFUSED
        assert "does not allow the Variable secret" in problem["detail"]
        assert f"`variables` of the credential {parsed.id}" in problem["detail"]
        assert airflow.calls == []

        def entries() -> list[Any]:
            return db.rows("SELECT * FROM edge.audit WHERE action = 'refused.name_not_allowed'")

        await until(lambda: bool(entries()), "it is audited")
        [entry] = entries()
        assert (entry.actor, entry.object) == ("worker:w1", f"credential/{parsed.id.hex}")
        assert entry.detail == {"call": f"PUT variables/secret for lease {task.lease}"}


async def test_a_foreign_lease_and_a_task_that_is_over_are_refused_as_such(
    forwarding: ApiProcess, airflow: Upstream, db: Db
) -> None:
    credential = worker_credential(db, "w1", connections=[])
    async with running(forwarding, airflow, db, credential) as task:
        other = worker_credential(db, "w2", connections=[])
        assert await task.call("GET", "connections/x", other) == (403, "foreign_lease")
        assert await task._replace(lease=str(uuid4())).call("GET", "connections/x") == (410, "fenced")


async def test_rotation_keeps_the_lists(forwarding: ApiProcess, airflow: Upstream, db: Db) -> None:
    credential = await enroll(forwarding.url, db.url, "w1", *NAMES)
    async with running(forwarding, airflow, db, credential) as task:
        async with (
            aiohttp.ClientSession(headers=bearer(credential)) as http,
            http.post(forwarding.url + ROTATE_PATH) as answer,
        ):
            successor = (await answer.json())["credential"]
        assert await task.call("GET", "connections/db", successor) == ALLOWED
        assert await task.call("GET", "connections/db2", successor) == REFUSED
        assert await task.call("GET", "variables/db", successor) == REFUSED


async def test_changed_lists_count_for_running_tasks(forwarding: ApiProcess, airflow: Upstream, db: Db) -> None:
    credential = worker_credential(db, "w1", queues=["default"])
    async with (
        running(forwarding, airflow, db, credential) as task,
        admin_client(forwarding.url, admin_credential(db)) as admin,
    ):
        (row,) = (await admin.get("/credentials", worker="w1"))["items"]
        assert (row["connections"], row["variables"]) == (None, None)
        assert await task.call("GET", "connections/db") == ALLOWED
        path = f"/credentials/{row['id']}"
        changed = await admin.call("PATCH", path, json={"connections": ["other"]})
        assert (changed["queues"], changed["connections"], changed["variables"]) == (["default"], ["other"], None)

        async def answers(expected: tuple[int, str | None]) -> bool:
            return await task.call("GET", "connections/db") == expected

        await until(lambda: answers(REFUSED), "the shorter list counts", deadline_s=2)
        assert await task.call("GET", "variables/any") == ALLOWED
        changed = await admin.call("PATCH", path, json={"connections": None, "variables": []})
        assert (changed["queues"], changed["connections"], changed["variables"]) == (["default"], None, [])
        await until(lambda: answers(ALLOWED), "any counts", deadline_s=2)
        assert await task.call("GET", "variables/any") == REFUSED
        # A client that knows only queues.
        changed = await admin.call("PATCH", path, json={"queues": None})
        assert (changed["queues"], changed["variables"]) == (None, [])
        entries = (await admin.get("/audit", action="credential.rescope"))["items"]
        assert [each["detail"] for each in entries] == [
            {"queues": None},
            {"connections": None, "variables": []},
            {"connections": ["other"]},
        ]
        assert (await admin.call("PATCH", path, 422, json={}))["code"] == "invalid_request"


# ---- what an administrator may grant ----

BOUNDS: dict[str, Any] = {"worker_pattern": "plant-*", "connections": ["db", "press_*"], "variables": []}


@pytest.fixture
async def limited(shared: ApiProcess, shared_db: Db) -> AsyncIterator[AdminClient]:
    """An administrator whose credential has both lists."""
    async with admin_client(shared.url, admin_credential(shared_db, **BOUNDS)) as client:
        yield client


async def test_the_lists_are_passed_on(shared: ApiProcess, shared_db: Db, limited: AdminClient) -> None:
    body = {"role": "admin", "label": "x"}
    for path, fields in (("/tokens", {}), ("/credentials", body)):
        made = await limited.call("POST", path, 201, json=fields)
        assert (made["connections"], made["variables"]) == (["db", "press_*"], [])
        narrower = {**fields, "connections": ["press_1*", "db"], "variables": None}
        made = await limited.call("POST", path, 201, json=narrower)
        assert (made["connections"], made["variables"]) == (["press_1*", "db"], [])
        listed = (await limited.get(path, limit=1))["items"][0]
        assert (listed["connections"], listed["variables"]) == (["press_1*", "db"], [])
    token = (await limited.call("POST", "/tokens", 201, json={"connections": ["db"]}))["token"]
    async with aiohttp.ClientSession() as http:
        body = {"join_token": token, "worker": "plant-1"}
        async with http.post(shared.url + ENROLL_PATH, json=body) as answer:
            assert answer.status == 201
    (enrolled,) = (await limited.get("/credentials", worker="plant-1"))["items"]
    assert (enrolled["connections"], enrolled["variables"]) == (["db"], [])


@pytest.mark.parametrize(
    "names",
    [
        {"connections": ["*"]},
        {"connections": ["pr*"]},
        {"connections": ["db*"]},
        {"connections": ["db", "other"]},
        {"variables": ["a"]},
    ],
)
async def test_nothing_beyond_the_lists_is_granted(
    shared_db: Db, limited: AdminClient, names: dict[str, list[str]]
) -> None:
    worker_credential(shared_db, "plant-1", connections=[], variables=[])
    (worker,) = (await limited.get("/credentials", worker="plant-1"))["items"]
    for method, path, fields in (
        ("POST", "/tokens", {}),
        ("POST", "/credentials", {"role": "read", "label": "x"}),
        ("PATCH", f"/credentials/{worker['id']}", {}),
    ):
        problem = await limited.call(method, path, 403, json={**fields, **names})
        assert problem["code"] == "out_of_scope"
        assert "Connections db, press_*, Variables (none)" in problem["detail"]
    assert (await limited.get("/credentials", worker="plant-1"))["items"] == [worker]
    patched = await limited.call("PATCH", f"/credentials/{worker['id']}", json={"connections": None})
    assert (patched["connections"], patched["variables"]) == (["db", "press_*"], [])


async def test_lists_alone_neither_hide_workers_nor_make_a_credential_for_sites(start_api: StartApi, db: Db) -> None:
    port = free_port()
    api = await start_api(site_port=port)
    worker_credential(db, "w1")
    credential = admin_credential(db, connections=[])
    async with admin_client(api.url, credential) as limited:
        assert [each["worker"] for each in (await limited.get("/credentials", worker="w1"))["items"]] == ["w1"]
        body = {"role": "admin", "label": "x", "on_behalf": True}
        assert (await limited.call("POST", "/credentials", 403, json=body))["code"] == "out_of_scope"
    async with admin_client(f"http://{LOCALHOST}:{port}", credential) as outside:
        assert (await outside.get("/workers", 403))["code"] == "scope_required"


@pytest.mark.parametrize(
    "names", [["a*b"], ["**"], [""], ["a\x00"], ["a" * 251], ["a"] * 1001, "a"], ids=lambda names: str(names)[:12]
)
async def test_invalid_lists(admin: AdminClient, names: Any) -> None:
    for field in ("connections", "variables"):
        assert (await admin.call("POST", "/tokens", 422, json={field: names}))["code"] == "invalid_request"


# ---- commands ----


async def test_the_commands(shared: ApiProcess, shared_db: Db, tmp_path: Path) -> None:
    join_token(shared_db.url, *NAMES, "--name-pattern", "p")
    join_token(shared_db.url, "--connections=", "--name-pattern", "q")
    made = edge_api(shared_db.url, "credential", "create", "--role", "admin", "--label", "site", *NAMES)
    assert made.returncode == 0, made.stderr
    tokens_listed = edge_api(shared_db.url, "token", "list", "-o", "plain").stdout.splitlines()
    assert [line.split()[1:6] for line in tokens_listed[:2]] == [
        ["q", "-", "-", "(none)", "-"],
        ["p", "-", "-", "db,press_*", "plant_*"],
    ]
    listed = edge_api(shared_db.url, "credential", "list", "-o", "plain").stdout.splitlines()
    (line,) = (line for line in listed if " site " in line)
    assert line.split()[2:9] == ["site", "-", "-", "-", "-", "db,press_*", "plant_*"]
    async with admin_client(shared.url, made.stdout.strip()) as limited:
        assert (await limited.call("POST", "/tokens", 403, json={"variables": ["*"]}))["code"] == "out_of_scope"
    for bad in ("a*b", "a,,b", "a" * 251):
        for command in (("token", "create"), ("credential", "create", "--role", "admin")):
            done = edge_api(shared_db.url, *command, "--variables", bad)
            assert (done.returncode, done.stdout) == (2, "")
            assert "--variables" in done.stderr.splitlines()[-1]


async def test_ensure_changes_the_lists_that_are_given(shared: ApiProcess, shared_db: Db, tmp_path: Path) -> None:
    credential = tokens.mint(tokens.ADMIN).text
    file = tmp_path / "credential"
    file.write_text(credential)
    ensure = ("credential", "ensure", "--role", "admin", "--label", "operator", "--secret-file", str(file))
    async with admin_client(shared.url, credential) as operator:
        for options, expected in (
            (("--connections", "db"), (["db"], None)),
            (("--connections", "db,x", "--variables="), (["db", "x"], [])),
            (("--connections", "db,x", "--variables="), (["db", "x"], [])),
            ((), (["db", "x"], [])),
            (("--variables", "*"), (["db", "x"], ["*"])),
        ):
            done = edge_api(shared_db.url, *ensure, *options)
            assert done.returncode == 0, done.stderr
            (row,) = (await operator.get("/credentials"))["items"]
            assert (row["connections"], row["variables"]) == expected
        entries = (await operator.get("/audit", action="credential.rescope", object=f"credential/{row['id']}"))["items"]
    assert [each["detail"] for each in entries] == [
        {"variables": ["*"]},
        {"connections": ["db", "x"], "variables": []},
    ]
