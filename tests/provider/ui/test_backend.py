"""The fleet page's backend in a real api-server, with a real edge API: who may see and do what, and bad input."""

import json
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx
import pytest

from edge_testing.database.db import Db
from edge_testing.edge_api.process import ApiProcess
from edge_testing.skipping import cannot_run
from edge_testing.ui.api_server import CHANGES, READS, ROLES, TEAMS, ApiServer, add_worker, api_server, settings

# ---- who may do what ----

LOOK = ("viewer", "user", "op", "admin")
ACT = ("op", "admin")


@pytest.mark.parametrize("role", ROLES)
def test_reading(server: ApiServer, worker: str, role: str) -> None:
    with server.user(role) as page:
        for path in READS:
            page.get(path.format(worker=worker))
        may_act = role in ACT
        found = page.get("session")
        assert (found["user"], found["may_act"], found["may_mint"]) == (role, may_act, may_act)
        page.get("tokens", expect=200 if may_act else 403)
        page.get("audit", expect=200 if found["may_audit"] else 403)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "path", "body", "status"), CHANGES, ids=lambda value: str(value)[:30])
def test_changing(server: ApiServer, worker: str, role: str, method: str, path: str, body: Any, status: int) -> None:
    with server.user(role) as page:
        page.write(method, path, body, worker=worker, expect=status if role in ACT else 403)


@pytest.mark.parametrize(("method", "path", "body", "status"), CHANGES, ids=lambda value: str(value)[:30])
def test_a_change_needs_a_login_and_the_header_of_the_page(
    server: ApiServer, worker: str, method: str, path: str, body: Any, status: int
) -> None:
    with server.visitor() as page:
        page.write(method, path.format(worker=worker), body, expect=401)
    with server.user("admin") as page:
        answer = page.http.request(method, path.format(worker=worker), json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "header" in answer.json()["detail"]


def test_without_a_login_nothing_is_shown(server: ApiServer, worker: str) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Cookie": "_token=nonsense"}):
        with server.visitor(headers) as page:
            for path in (*READS, "tokens", "audit", "audit/export?format=csv", "task?dag_id=dag&run_id=r&task_id=t"):
                assert page.get(path.format(worker=worker), expect=401)["code"] == "session_ended"


def test_who_did_it_is_the_user(server: ApiServer, db: Db, worker: str) -> None:
    with server.user("op", name="jörg, ops") as page:
        page.write("PUT", f"workers/{worker}/maintenance", {"comment": "new disk"})
        shown = page.get(f"workers/{worker}")["worker"]["maintenance"]
        assert (shown["by"], shown["comment"]) == ("jörg, ops", "new disk")
    with server.user("admin") as page:
        (entry,) = page.get("audit", object=f"worker/{worker}")["items"]
    assert entry["actor"].startswith("user:jörg, ops via admin:anna:")


def test_a_join_token_is_in_one_answer_that_nobody_stores(server: ApiServer, worker: str) -> None:
    with server.user("op") as page:
        answer = page.http.post("tokens", json={"worker_pattern": worker}, headers={"X-Edge-UI": "1"})
        assert answer.headers["Cache-Control"] == "no-store"
        secret = answer.json()["token"]
        listed = page.get("tokens")["items"]
        assert answer.json()["id"] in {token["id"] for token in listed}
        assert secret not in json.dumps(listed)
        page.write("DELETE", f"tokens/{answer.json()['id']}", expect=204)


# ---- the live list ----


def test_polls_bring_what_has_changed(server: ApiServer, db: Db) -> None:
    first = add_worker(db)
    with server.user("op") as page:
        news = page.get("fleet")
        assert news["reset"]
        page.until_known(news, first)
        second = add_worker(db)
        news = page.until_known(page.get("fleet"), second)
        page.write("PUT", f"workers/{first}/maintenance", {"comment": "new disk"})
        for _ in range(100):
            news = page.get("fleet", since=news["since"])
            if any(seen["name"] == first and seen["maintenance"] for seen in news["workers"]):
                break
        else:
            raise AssertionError
        assert page.get("fleet", since="nonsense")["reset"]


# ---- what people may not see ----


def test_teams_see_their_own_workers_and_jobs(airflow_database: None, edge_api: ApiProcess, db: Db) -> None:
    mine, theirs, nobodys = add_worker(db, team="red"), add_worker(db, team="blue"), add_worker(db)
    for team in TEAMS:
        db.enqueue(team=team, dag_id=f"dag-{team}", queue=f"q-{team}")
    (their_job,) = db.enqueue(team="blue", dag_id="dag-blue", queue="q-blue")
    multi = settings(edge_api.url, db, AIRFLOW__CORE__MULTI_TEAM="True", AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="")
    with ExitStack() as stack:
        server = stack.enter_context(api_server(multi))
        page = stack.enter_context(server.user("op", teams=("red",)))
        page.until_known(page.get("fleet"), mine)
        names = {worker["name"] for worker in page.get("fleet")["workers"]}
        assert {mine, nobodys} <= names
        assert theirs not in names
        page.get(f"workers/{mine}")
        page.get(f"workers/{theirs}", expect=404)
        page.write("PUT", f"workers/{theirs}/maintenance", {"comment": "x"}, expect=404)
        (result,) = page.write("POST", "workers/bulk", {"action": "shutdown", "names": [theirs]})["results"]
        assert result["code"] == "worker_unknown"
        assert {job["team"] for job in page.get("jobs")["items"]} <= {"red", None}
        page.get(f"jobs/{their_job}/explain", expect=404)
        page.get("jobs", dag_id="dag-blue", expect=403)
        page.get("audit", expect=403)
        page.write("POST", "tokens", {"worker_pattern": "x"}, expect=422)
        page.write("POST", "tokens", {"worker_pattern": "x", "team": "blue"}, expect=403)
        page.write("POST", "tokens", {"worker_pattern": "x", "team": "red"}, expect=201)
        everyone = stack.enter_context(server.user("admin"))
        assert {mine, theirs, nobodys} <= {worker["name"] for worker in everyone.get("fleet")["workers"]}


def test_ids_of_unreadable_dags_are_hidden(server: ApiServer, db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = f"q-{uuid4().hex[:8]}"
    (secret,) = db.enqueue(dag_id="dag-red", task_id="secret-task", queue=queue)
    db.enqueue(dag_id="dag", queue=queue)
    manager = type(airflow_auth_manager())

    def only_dag(_: Any, **asked: Any) -> bool:
        return asked.get("details") is None or asked["details"].id == "dag"

    monkeypatch.setattr(manager, "is_authorized_dag", only_dag)
    with server.user("viewer") as page:
        jobs = page.get("jobs", queue=queue)["items"]
        assert {(job["hidden"], job["dag_id"]) for job in jobs} == {(False, "dag"), (True, None)}
        assert "secret-task" not in json.dumps(jobs)
        assert "secret-task" not in json.dumps(page.get(f"jobs/{secret}/explain"))
        page.get("jobs", dag_id="dag-red", expect=403)
        page.get("task", dag_id="dag-red", run_id="run", task_id="secret-task", expect=403)


def airflow_auth_manager() -> Any:
    from airflow.api_fastapi.app import get_auth_manager  # noqa: PLC0415 - once it is there

    return get_auth_manager()


def test_the_story_of_a_task(server: ApiServer, db: Db) -> None:
    run = f"run-{uuid4().hex[:8]}"
    db.enqueue(dag_id="dag", run_id=run, task_id="t", queue="nobody-serves-it")
    with server.user("viewer") as page:
        story = page.get("task", dag_id="dag", run_id=run, task_id="t")
        assert [job["state"] for job in story["tries"]] == ["queued"]
        assert story["why"]["verdict"] == "no_worker"
        assert page.get("task", dag_id="dag", run_id=run, task_id="other")["tries"] == []


# ---- what goes wrong ----


@pytest.mark.parametrize(
    ("method", "path", "body", "part"),
    [
        ("PUT", "workers/{worker}/maintenance", {"comment": "x" * 10_000}, "1024"),
        ("PUT", "workers/{worker}/maintenance", {"comment": " "}, "comment"),
        ("PUT", "workers/{worker}/maintenance", {"comment": "a\0b"}, ""),
        ("PATCH", "workers/{worker}", {"concurrency": 0}, "concurrency"),
        ("POST", "workers/bulk", {"action": "shutdown", "filter": {}}, "Name the workers"),
        ("POST", "tokens", {"worker_pattern": "x", "expires_s": -1}, "expires_s"),
    ],
)
def test_bad_input_is_answered_in_words(
    server: ApiServer, worker: str, method: str, path: str, body: Any, part: str
) -> None:
    with server.user("admin") as page:
        assert part in page.write(method, path.format(worker=worker), body, expect=422)["detail"]


def test_markup_in_a_comment_stays_text(server: ApiServer, worker: str) -> None:
    comment = "<img src=x onerror=alert(1)> 'ü' ☃"
    with server.user("admin") as page:
        page.write("PUT", f"workers/{worker}/maintenance", {"comment": comment})
        assert page.get(f"workers/{worker}")["worker"]["maintenance"]["comment"] == comment


def test_an_action_on_a_worker_that_has_gone(server: ApiServer) -> None:
    with server.user("admin") as page:
        assert page.write("PUT", "workers/nobody/shutdown", expect=404)["code"] == "worker_unknown"
        (result,) = page.write("POST", "workers/bulk", {"action": "remove", "names": ["nobody"]})["results"]
        assert (result["ok"], result["code"]) == (False, "worker_unknown")


def test_names_with_every_allowed_character(server: ApiServer, db: Db) -> None:
    name = add_worker(db, name=f"A{'.b_C-9' * 42}", queues=["#q/? %2F&=+\\'\"<b>ü☃", "..", "/"])
    (job,) = db.enqueue(dag_id="dag", task_id="tü.-_", run_id="r:+~. 1/2#?&", queue="#q/? %2F&=+\\'\"<b>ü☃")
    with server.user("admin") as page:
        page.until_known(page.get("fleet"), name)
        page.write("PUT", f"workers/{name}/maintenance", {"comment": "new disk"})
        page.write("PATCH", f"workers/{name}", {"add_queues": ["*?", "."], "remove_queues": ["/"]})
        assert page.get(f"workers/{name}")["worker"]["queues_removed"] == ["/"]
        for part in ("events", "metrics"):
            page.get(f"workers/{name}/{part}")
        assert [entry["action"] for entry in page.get("audit", object=f"worker/{name}")["items"]]
        (shown,) = page.get("jobs", queue="#q/? %2F&=+\\'\"<b>ü☃")["items"]
        assert (shown["id"], shown["run_id"]) == (str(job), "r:+~. 1/2#?&")
        story = page.get("task", dag_id="dag", run_id="r:+~. 1/2#?&", task_id="tü.-_")
        assert story["why"]["verdict"] == "cordoned"
        page.write("DELETE", f"workers/{name}/credentials")


def test_the_export_is_no_formula_for_a_spreadsheet(server: ApiServer, db: Db, worker: str) -> None:
    with server.user("admin", name="=HYPERLINK(1)") as page:
        page.write("PUT", f"workers/{worker}/maintenance", {"comment": "=1+1"})
        answer = page.http.get("audit/export", params={"format": "csv", "object": f"worker/{worker}"})
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert not any(cell.startswith(("=", '"=')) for line in answer.text.splitlines() for cell in line.split(","))
        exported = page.get("audit/export", format="json", object=f"worker/{worker}")
        assert [entry["action"] for entry in exported] == ["worker.maintenance"]


def test_files_of_the_bundle_are_kept_by_browsers(server: ApiServer) -> None:
    from edge_provider.ui import STATIC  # noqa: PLC0415

    bundle = next(STATIC.glob("edge-*.js"), None)
    if bundle is None:
        cannot_run("the fleet page was not built: make setup needs npm's registry")
    answer = httpx.get(f"{server.url}/edge_ui/static/{bundle.name}", trust_env=False)
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Type"].startswith("text/javascript")
