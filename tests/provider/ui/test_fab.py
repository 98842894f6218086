"""The fleet page's access rules with Airflow's FAB auth manager, in an api-server with libraries of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from edge_demo.environment import LOCALHOST, airflow_env, fleet_page_env, free_port
from edge_demo.platform import EDGE_EXECUTOR
from edge_demo.processes import ManagedProcess, answers, run_command, wait_until
from edge_testing.airflow.fab import FAB, fab_python
from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import admin_credential
from edge_testing.edge_api.process import ApiProcess
from edge_testing.ui.api_server import CHANGES, READS, Page

LOOK = ("Admin", "Op", "User", "Viewer")
ACT = ("Admin", "Op")
PASSWORD = "a-password"
START_S = 180.0


@pytest.fixture(scope="module")
def fab(edge_api: ApiProcess, db: Db, module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an api-server that has a user of each role, named like the role."""
    folder = tmp_path_factory.mktemp("fab")
    (folder / "dags").mkdir()
    token = folder / "token"
    token.write_text(admin_credential(db, on_behalf=True))
    url = f"http://{LOCALHOST}:{free_port()}"
    env = airflow_env(
        home=folder,
        dags=folder / "dags",
        database_url=module_database,
        url=url,
        executor=EDGE_EXECUTOR,
        # Otherwise a changed role counts after 30 s.
        extra={"AIRFLOW__CORE__AUTH_MANAGER": FAB, "AIRFLOW__FAB__CACHE_TTL": "0"},
    ) | fleet_page_env(admin_api_url=edge_api.url, api_url=edge_api.url, token_file=token)
    airflow = str(fab_python().with_name("airflow"))
    run_command([airflow, "db", "migrate"], env, folder, START_S)
    person = ["--email", "a@example.com", "--firstname", "A", "--lastname", "B", "--password", PASSWORD]
    run_command([airflow, "users", "create", "--username", "Admin", "--role", "Admin", *person], env, folder, START_S)
    server = ManagedProcess("api-server", [airflow, "api-server"], env, folder / "log", folder)
    server.start()
    try:
        wait_until(lambda: answers(f"{url}/api/v2/monitor/health"), f"{url} answers", START_S, [server])
        with client(url, "Admin") as admin:
            for role in (*LOOK[1:], "Public"):
                names = {"username": role, "email": f"{role}@example.com", "first_name": "A", "last_name": "B"}
                body = {**names, "password": PASSWORD, "roles": [{"name": role}]}
                admin.post("/auth/fab/v1/users", json=body).raise_for_status()
        yield url
    finally:
        server.end(60)


@contextmanager
def client(url: str, user: str, path: str = "") -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        login = http.post("/auth/token", json={"username": user, "password": PASSWORD})
        http.headers["Authorization"] = f"Bearer {login.raise_for_status().json()['access_token']}"
        http.base_url = httpx.URL(f"{url}{path}")
        yield http


@pytest.mark.parametrize("role", LOOK)
def test_each_role_sees_and_does_what_the_documentation_says(fab: str, worker: str, role: str) -> None:
    may_act = role in ACT
    with client(fab, role, "/edge_ui/api/") as http:
        page = Page(http)
        for path in READS:
            page.get(path.format(worker=worker))
        session = page.get("session")
        assert (session["user"], session["may_act"], session["may_mint"]) == (role, may_act, may_act)
        assert session["may_audit"] == (role == "Admin")
        page.get("audit", expect=200 if session["may_audit"] else 403)
        for method, path, body, status in CHANGES:
            page.write(method, path, body, worker=worker, expect=status if may_act else 403)
    if may_act:
        with client(fab, "Admin", "/edge_ui/api/") as http:
            entries = Page(http).get("audit", object=f"worker/{worker}")["items"]
        assert {entry["actor"].partition(" via ")[0] for entry in entries} == {f"user:{role}"}


def test_without_a_role_nothing_is_shown(fab: str, worker: str) -> None:
    with client(fab, "Public", "/edge_ui/api/") as http:
        for path in READS:
            assert Page(http).get(path.format(worker=worker), expect=403)["detail"]


def test_a_viewer_gets_the_page_with_the_permission_to_read_plugins(fab: str) -> None:
    def plugins(role: str) -> httpx.Response:
        with client(fab, role) as http:
            return http.get("/api/v2/plugins")

    for role in ACT:
        shown = {app["name"] for plugin in plugins(role).json()["plugins"] for app in plugin["react_apps"]}
        assert {"Edge fleet", "Edge task", "Edge summary"} <= shown
    assert plugins("Viewer").status_code == 403
    with client(fab, "Admin") as admin:
        found: Any = admin.get("/auth/fab/v1/roles/Viewer").json()
        found["actions"].append({"action": {"name": "can_read"}, "resource": {"name": "Plugins"}})
        admin.patch("/auth/fab/v1/roles/Viewer", json=found).raise_for_status()
    assert plugins("Viewer").status_code == 200
