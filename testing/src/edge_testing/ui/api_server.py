"""Airflow's api-server inside the test process: its real application, on a port, without a UI.

Airflow's configuration must be set before it starts, through the environment.
"""

import json
import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import httpx
import uvicorn

from edge_demo.environment import LOCALHOST, free_port
from edge_testing.database.db import Db
from edge_testing.database.records import register
from edge_testing.edge_api.credentials import admin_credential

with warnings.catch_warnings():
    # Airflow's imports use deprecated names of its dependencies.
    warnings.simplefilter("ignore")
    from airflow import plugins_manager
    from airflow.api_fastapi import app as airflow_app
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    from edge_provider.ui.access import WRITE_HEADER

_START_S: Final = 60.0

ROLES: Final = ("viewer", "user", "op", "admin")
TEAMS: Final = ("red", "blue")
READS: Final = ("session", "fleet", "queues", "jobs", "workers/{worker}")
CHANGES: Final[tuple[tuple[str, str, Any, int], ...]] = (
    ("PUT", "workers/{worker}/maintenance", {"comment": "new disk"}, 200),
    ("DELETE", "workers/{worker}/maintenance", None, 200),
    ("PATCH", "workers/{worker}", {"concurrency": 3}, 200),
    ("POST", "workers/bulk", {"action": "exit_maintenance", "names": ["{worker}"]}, 200),
    ("PUT", "workers/{worker}/shutdown", None, 200),
    ("DELETE", "workers/{worker}/shutdown", None, 200),
    ("DELETE", "workers/{worker}/credentials", None, 200),
    ("POST", "tokens", {"worker_pattern": "{worker}"}, 201),
)
"""Method, path, body and status of each change of a worker."""


def settings(url: str, db: Db, **more: str) -> dict[str, str]:
    """Return an api-server's settings for the edge API at a URL."""
    return {
        "AIRFLOW__EDGE__ADMIN_API_URL": url,
        "AIRFLOW__EDGE__ADMIN_TOKEN": admin_credential(db, on_behalf=True),
        "AIRFLOW__EDGE__API_URL": "https://edge.example.com/edge_worker/v2",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        **more,
    }


def add_worker(db: Db, **changes: Any) -> str:
    """Register a worker and return its name; `changes` are fields of `Registration`."""
    name = str(changes.pop("name", f"w-{uuid4().hex[:8]}"))
    with db.connection() as connection:
        register(connection, name, **changes)
    return name


@contextmanager
def api_server(settings: Mapping[str, str]) -> Iterator["ApiServer"]:
    """Run an api-server with settings of Airflow, given as environment variables."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    manager = airflow_app._AuthManagerState.instance
    airflow_app._AuthManagerState.instance = None
    for cached in (plugins_manager._get_plugins, plugins_manager.get_fastapi_plugins):
        cached.cache_clear()
    port = free_port()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        app = airflow_app.create_app(apps="core")
    server = uvicorn.Server(uvicorn.Config(app, LOCALHOST, port, log_config=None, lifespan="on", loop="asyncio"))
    thread = threading.Thread(target=server.run, name="api-server")
    thread.start()
    try:
        deadline = time.monotonic() + _START_S
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield ApiServer(f"http://{LOCALHOST}:{port}")
    finally:
        server.should_exit = True
        thread.join(_START_S)
        # That of an api-server that has been running meanwhile.
        airflow_app._AuthManagerState.instance = manager
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class ApiServer:
    """Makes calls as users of Airflow's SimpleAuthManager."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def user(self, role: str, *, name: str = "", teams: tuple[str, ...] = ()) -> Iterator["Page"]:
        """Log a user in."""
        user = SimpleAuthManagerUser(username=name or role, role=role, teams=list(teams))
        token = airflow_app.get_auth_manager().generate_jwt(user)
        with self.visitor({"Authorization": f"Bearer {token}"}) as page:
            yield page

    @contextmanager
    def visitor(self, headers: Mapping[str, str] = {}) -> Iterator["Page"]:
        """Call without a login, or with other headers."""
        with httpx.Client(
            base_url=f"{self.url}/edge_ui/api/", headers=dict(headers), timeout=30, trust_env=False
        ) as http:
            yield Page(http)


class Page:
    """Calls the backend as the page does."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def get(self, path: str, expect: int = 200, **params: Any) -> Any:
        """Read something and return its JSON."""
        return _checked(self.http.get(path, params=params), expect)

    def write(self, method: str, path: str, body: Any = None, expect: int = 200, worker: str = "") -> Any:
        """Change something and return the answer's JSON; path and body may name the worker as `{worker}`."""
        path = path.replace("{worker}", worker)
        body = json.loads(json.dumps(body).replace("{worker}", worker))
        return _checked(self.http.request(method, path, json=body, headers={WRITE_HEADER: "1"}), expect)

    def until_known(self, news: Any, name: str) -> Any:
        """Poll from an answer on until a worker is reported, and return the answer that does."""
        for _ in range(200):
            if any(seen["name"] == name for seen in news["workers"]):
                return news
            news = self.get("fleet", since=news["since"])
        raise AssertionError(name)


def _checked(answer: httpx.Response, expect: int) -> Any:
    assert answer.status_code == expect, (
        f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    )
    if answer.is_error:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"].strip()
        assert "Traceback" not in answer.text
    return answer.json() if answer.content else None
