"""The fleet page's backend with an edge API that is away, slow, of another version, or no edge API at all."""

import json
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_demo.environment import LOCALHOST, free_port
from edge_protocol.admin import CHANGES_PATH, WORKERS_PATH
from edge_testing.database.db import Db
from edge_testing.edge_api.process import ApiProcess
from edge_testing.relay import Relay
from edge_testing.ui.api_server import Page, add_worker, api_server, settings
from edge_testing.ui.stand_in import stand_in

READS = ("fleet", "summary", "queues", "jobs", "workers/w1")
CHANGES: list[tuple[str, str, Any]] = [
    ("PUT", "workers/w1/shutdown", None),
    ("DELETE", "workers/w1/credentials", None),
    ("POST", "workers/bulk", {"action": "shutdown", "names": ["w1"]}),
    ("POST", "tokens", {"worker_pattern": "w1"}),
]
JSON = "application/json"
HTML = "text/html"
PROBLEM = "application/problem+json"
UNKNOWN_CALL = json.dumps({"title": "Not Found", "status": 404, "detail": "Nothing here.", "code": "not_found"})


@contextmanager
def admin(url: str, db: Db, **more: str) -> Iterator[Page]:
    """Look through an api-server of its own at the edge API of a URL."""
    with api_server(settings(url, db, **more)) as server, server.user("admin") as page:
        yield page


def refusals(page: Page) -> set[str]:
    """Return the codes with which all calls are refused."""
    codes = {page.get(path, expect=503)["code"] for path in READS}
    return codes | {page.write(method, path, body, expect=503)["code"] for method, path, body in CHANGES}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"AIRFLOW__EDGE__ADMIN_API_URL": ""}, "not_configured"),
        ({"AIRFLOW__EDGE__ADMIN_API_URL": "http://edge:port"}, "not_configured"),
        ({"AIRFLOW__EDGE__ADMIN_TOKEN": ""}, "not_configured"),
        ({"AIRFLOW__EDGE__ADMIN_API_URL": f"http://{LOCALHOST}:{free_port()}"}, "edge_api_away"),
        ({"AIRFLOW__EDGE__ADMIN_API_URL": "http://edge..example"}, "edge_api_away"),
        ({"AIRFLOW__EDGE__ADMIN_TOKEN": "nonsense"}, "credential_refused"),
    ],
)
def test_an_edge_api_that_cannot_be_used(
    airflow_database: None, edge_api: ApiProcess, db: Db, changes: dict[str, str], code: str
) -> None:
    with admin(edge_api.url, db, **changes) as page:
        page.get("session")
        assert refusals(page) == {code}


@pytest.mark.parametrize(
    ("status", "kind", "body", "code"),
    [
        (404, HTML, "<h1>Not Found</h1>", "not_an_edge_api"),
        (302, HTML, "", "not_an_edge_api"),
        (404, PROBLEM, UNKNOWN_CALL, "edge_api_version"),
        (200, HTML, "<h1>Welcome</h1>\n\n", "edge_api_version"),
        (200, JSON, '{"items": [{"name": 1}], "results": 1, "token": null}', "edge_api_version"),
    ],
)
def test_an_edge_api_of_another_version_is_said_in_words(
    airflow_database: None,
    db: Db,
    caplog: pytest.LogCaptureFixture,
    status: int,
    kind: str,
    body: str,
    code: str,
) -> None:
    with stand_in(status, kind, body) as (url, _), admin(url, db) as page:
        assert refusals(page) == {code}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/event-stream", 'event: removed\ndata: ["w1"]\n\n'),
        ("text/event-stream", 'event: worker\ndata: {"name": 1}\n\n'),
        (HTML, "<h1>Welcome</h1>\n\n"),
    ],
)
def test_a_change_stream_of_another_version(
    airflow_database: None, db: Db, caplog: pytest.LogCaptureFixture, kind: str, body: str
) -> None:
    with stand_in(404, HTML, "") as (url, others), admin(url, db) as page:
        others[WORKERS_PATH] = (JSON, '{"items": [], "next": null}')
        others[CHANGES_PATH] = (kind, body)
        while not (problem := page.get("fleet")["problem"]):
            pass
        assert problem["code"] == "edge_api_version"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_an_edge_api_that_takes_calls_and_never_answers(
    airflow_database: None, db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_provider.ui.client.TIMEOUT_S", 0.2)
    port = free_port()
    with socket.create_server((LOCALHOST, port)), admin(f"http://{LOCALHOST}:{port}", db) as page:
        assert refusals(page) == {"edge_api_slow"}


def test_the_last_data_is_shown_while_the_edge_api_is_away_or_slow(
    airflow_database: None, module_database: str, db: Db, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_provider.ui.client.TIMEOUT_S", 2.0)
    monkeypatch.setattr("edge_provider.ui.fleet.REFRESH_S", 0.2)
    name = add_worker(db)

    def until_problem(code: str | None) -> None:
        while (problem := page.get("fleet")["problem"] or {}).get("code") != code:
            assert problem.get("code") in (None, "edge_api_away", "edge_api_slow")
        assert name in {worker["name"] for worker in page.get("fleet")["workers"]}

    with ExitStack() as stack:
        edge_api = stack.enter_context(ApiProcess(module_database, tmp_path / "log"))
        relay = stack.enter_context(Relay(edge_api.port))
        page = stack.enter_context(admin(f"http://{LOCALHOST}:{relay.port}", db))
        page.until_known(page.get("fleet"), name)
        relay.stop_forwarding()
        until_problem("edge_api_slow")
        relay.resume_forwarding()
        until_problem(None)
        edge_api.end()
        until_problem("edge_api_away")
        edge_api.start()
        edge_api.wait_ready()
        until_problem(None)


def test_the_page_goes_on_with_another_edge_api(
    airflow_database: None, module_database: str, db: Db, tmp_path: Path
) -> None:
    name = add_worker(db)
    with ExitStack() as stack:
        first, second = (stack.enter_context(ApiProcess(module_database, tmp_path / f"{n}.log")) for n in range(2))
        relay = stack.enter_context(Relay(first.port, second.port))
        page = stack.enter_context(admin(f"http://{LOCALHOST}:{relay.port}", db))
        page.until_known(page.get("fleet"), name)
        first.kill()
        # A call that was on its way may be refused in words.
        while page.http.put(
            f"workers/{name}/maintenance", json={"comment": "disk"}, headers={"X-Edge-UI": "1"}
        ).is_error:
            pass
        while page.get("fleet")["problem"]:
            pass
        other = add_worker(db)
        page.until_known(page.get("fleet"), other)
