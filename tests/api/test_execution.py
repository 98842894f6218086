"""Calls of tasks are forwarded to Airflow's Execution API, for the task's own lease and as they came."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import aiohttp
import jwt
import pytest
from multidict import CIMultiDictProxy
from sqlalchemy import text
from yarl import URL

from edge_protocol.execution import EXECUTION_PATH, TASK_HEADER, forwarded
from edge_store import outages
from edge_store.database.statement import rows, run
from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import bearer, enroll
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import Client, session
from edge_testing.edge_api.upstream import Answer, Upstream
from edge_testing.waiting import until
from edge_testing.workers.workload import task_token

BODY_MAX = 1 << 19


class Site(NamedTuple):
    """A worker with one running job, an edge API, and what is behind it."""

    api: ApiProcess
    airflow: Upstream
    db: Db
    worker: Client
    credential: str
    lease: str
    token: str

    def url(self, path: str, lease: str | None = None) -> URL:
        return URL(f"{self.api.url}{EXECUTION_PATH}/{lease or self.lease}/{path}", encoded=True)

    def headers(self, **changes: str) -> dict[str, str]:
        return {**bearer(self.credential), TASK_HEADER: self.token, **changes}


@pytest.fixture
async def airflow() -> AsyncIterator[Upstream]:
    async with Upstream().serve() as upstream:
        yield upstream


@asynccontextmanager
async def running_task(api: ApiProcess, airflow: Upstream, db: Db) -> AsyncIterator[Site]:
    """Let a worker run a job."""
    credential = await enroll(api.url, db.url, "w1")
    [job] = db.enqueue()
    async with session(api.url, credential) as worker:
        yield Site(api, airflow, db, worker, credential, await worker.accept(), task_token(job))


@pytest.fixture
async def site(start_api: StartApi, db: Db, airflow: Upstream) -> AsyncIterator[Site]:
    api = await start_api(execution_api_url=airflow.url, execution_body_max_bytes=BODY_MAX)
    async with running_task(api, airflow, db) as site:
        yield site


async def call(
    site: Site, method: str, url: URL, headers: dict[str, str], data: bytes | None = None
) -> tuple[int, CIMultiDictProxy[str], bytes]:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as http,
        http.request(method, url, headers=headers, data=data, allow_redirects=False) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


async def test_a_call_passes_unchanged(site: Site) -> None:
    site.airflow.answer = Answer(201, b'"kept"', {"Content-Type": "application/json", "Refreshed-API-Token": "next"})
    path = "xcoms/my%20dag/manual__2026-01-01T00%3A00%3A00%2B00%3A00/press/return_value?map_index=3&name=a%2Fb"
    given = site.headers(**{"Content-Type": "application/json", "airflow-api-version": "2026-01-01", "Cookie": "x"})
    status, headers, body = await call(site, "POST", site.url(path), given, b'"value"')
    assert (status, body, headers["Content-Type"]) == (201, b'"kept"', "application/json")
    assert headers["Refreshed-API-Token"] == "next"
    [seen] = site.airflow.calls
    assert (seen.method, seen.path, seen.body) == ("POST", f"/execution/{path}", b'"value"')
    assert seen.headers["Authorization"] == f"Bearer {site.token}"
    assert seen.headers["airflow-api-version"] == "2026-01-01"
    assert not {"cookie", TASK_HEADER.lower()} & {name.lower() for name in seen.headers}
    assert site.credential not in str(seen.headers)


@pytest.mark.parametrize("status", [204, 307, 404, 409, 500])
async def test_airflows_answer_is_the_answer(site: Site, status: int) -> None:
    body = b"" if status == 204 else b'{"detail": {"reason": "not_found"}}'
    site.airflow.answer = Answer(status, body, {"Content-Type": "application/json", "Location": "/elsewhere"})
    found = await call(site, "GET", site.url("variables/none"), site.headers())
    assert (found[0], found[2]) == (status, body)
    assert "Location" not in found[1]


async def test_a_large_answer_and_the_head_of_one(site: Site) -> None:
    large = b'"' + b"x" * (4 << 20) + b'"'
    site.airflow.answer = Answer(200, large, {"Content-Type": "application/json", "Content-Range": "map_indexes 7"})
    path = site.url("xcoms/d/r/t/k")
    assert (await call(site, "GET", path, site.headers()))[2] == large
    status, headers, body = await call(site, "HEAD", path, site.headers())
    assert (status, headers["Content-Range"], body) == (200, "map_indexes 7", b"")


async def refused(site: Site, method: str, url: URL, headers: dict[str, str], data: bytes | None = None) -> Any:
    """Return status and code of a refusal, after which Airflow has seen nothing."""
    async with aiohttp.ClientSession() as http, http.request(method, url, headers=headers, data=data) as answer:
        problem = await answer.json(content_type="application/problem+json")
    assert site.airflow.calls == []
    return answer.status, problem["code"]


async def audited(site: Site, code: str) -> bool:
    return bool(site.db.rows(text("SELECT 1 FROM edge.audit WHERE action = :a").bindparams(a=f"refused.{code}")))


@pytest.mark.parametrize(
    "path",
    [
        "docs",
        "openapi.json",
        "",
        "../api/v2/variables",
        "variables/../../api/v2/variables",
        "variables/%2e%2e/%2E%2E/api/v2/variables",
        "variables/..%2f..%2fapi",
        "variables/%252e%252e/x",
        "variables\\..\\x",
        "variables/x%00",
        "Variables/x",
        "/variables/x",
    ],
)
async def test_other_paths_are_not_forwarded(site: Site, path: str) -> None:
    assert await refused(site, "GET", site.url(path), site.headers()) == (404, "path_not_forwarded")
    await until(lambda: audited(site, "path_not_forwarded"), "it is audited")


@pytest.mark.parametrize(
    "path",
    ["variables/a/b", "variables/with.dots..and%20blanks", "dags/my%2Fdag", "hitlDetails/1", "store/ti/1/k"],
)
def test_what_tasks_call_is_forwarded(path: str) -> None:
    assert forwarded(path)


async def test_another_workers_lease_is_refused(site: Site) -> None:
    other = await enroll(site.api.url, site.db.url, "w2")
    answer = await refused(site, "PUT", site.url("variables/x"), site.headers(**bearer(other)), b"{}")
    assert answer == (403, "foreign_lease")
    await until(lambda: audited(site, "foreign_lease"), "it is audited")


@pytest.mark.parametrize("token", ["", "nonsense", task_token(uuid4(), exp=1)])
async def test_another_tasks_token_is_refused(site: Site, token: str) -> None:
    headers = site.headers(**{TASK_HEADER: token})
    assert await refused(site, "GET", site.url("connections/db"), headers) == (403, "foreign_task_token")
    await until(lambda: audited(site, "foreign_task_token"), "it is audited")


async def test_a_task_that_was_given_up_changes_nothing(site: Site) -> None:
    url = site.url("xcoms/d/r/t/return_value")
    assert (await call(site, "POST", url, site.headers(), b"1"))[0] == 200
    site.airflow.calls.clear()
    site.db.revoke(jwt.decode(site.token, options={"verify_signature": False})["sub"])
    assert await refused(site, "POST", url, site.headers(), b"1") == (410, "fenced")
    unknown = site.url("xcoms/d/r/t/return_value", str(uuid4()))
    assert await refused(site, "POST", unknown, site.headers(), b"1") == (410, "fenced")
    assert await site.api.metric('airflow_edge_fenced_total{frame="execution"}') == 2


async def test_an_offered_job_may_not_call_yet(site: Site) -> None:
    [job] = site.db.enqueue()
    lease = (await site.worker.expect("job", job_id=str(job)))["lease_id"]
    headers = site.headers(**{TASK_HEADER: task_token(job)})
    assert await refused(site, "PATCH", site.url(f"task-instances/{job}/run", lease), headers) == (410, "fenced")


async def test_without_a_credential(site: Site) -> None:
    assert await refused(site, "GET", site.url("variables/x"), {TASK_HEADER: site.token}) == (401, "credential_missing")


async def test_a_body_over_the_limit(site: Site) -> None:
    data = b"x" * (BODY_MAX + 1)
    assert await refused(site, "POST", site.url("xcoms/d/r/t/k"), site.headers(), data) == (413, "body_too_large")
    assert (await call(site, "POST", site.url("xcoms/d/r/t/k"), site.headers(), data[1:]))[0] == 200
    assert site.airflow.calls[0].body == data[1:]


async def test_while_airflow_is_away(start_api: StartApi, db: Db) -> None:
    api = await start_api(execution_api_url="http://127.0.0.1:1/execution/")
    async with running_task(api, Upstream(), db) as site:
        assert site.worker.has("welcome", execution_forwarded=True)
        assert await refused(site, "GET", site.url("variables/x"), site.headers()) == (503, "airflow_away")


async def test_an_edge_api_that_forwards_nothing_says_so(start_api: StartApi, db: Db) -> None:
    async with running_task(await start_api(), Upstream(), db) as site:
        assert site.worker.has("welcome", execution_forwarded=False)
        assert await refused(site, "GET", site.url("variables/x"), site.headers()) == (501, "not_forwarded")


# ---- tokens of tasks that were out of contact ----


async def test_an_expired_token_is_replaced_by_one_of_the_scheduler(site: Site) -> None:
    [job] = site.db.rows("SELECT id, owner FROM edge.job")
    path, old = "variables/a", task_token(job.id, iat=1, exp=2)
    status, _, body = await call(site, "GET", site.url(path), site.headers(**{TASK_HEADER: old}))
    assert (status, b"token_expired" in body, site.airflow.calls) == (503, True, [])
    with site.db.connection() as connection:
        assert [str(each.id) for each in rows(connection, outages.want_token(job.owner))] == [str(job.id)]
        new = task_token(job.id)
        run(connection, outages.store_tokens({job.id: new}))
        assert rows(connection, outages.want_token(job.owner)) == []
    status, headers, _ = await call(site, "GET", site.url(path), site.headers(**{TASK_HEADER: old}))
    assert (status, headers["Refreshed-API-Token"]) == (200, new)
    assert [seen.headers["Authorization"] for seen in site.airflow.calls] == [f"Bearer {new}"]
    # A task that has the new one is told nothing.
    status, headers, _ = await call(site, "GET", site.url(path), site.headers(**{TASK_HEADER: new}))
    assert (status, "Refreshed-API-Token" in headers) == (200, False)


async def test_a_stored_token_of_another_task_or_an_expired_one_is_not_used(site: Site) -> None:
    [job] = site.db.rows("SELECT id FROM edge.job")
    old = site.headers(**{TASK_HEADER: task_token(job.id, iat=1, exp=2)})
    for stored in (task_token(uuid4()), task_token(job.id, iat=2, exp=3), "nonsense"):
        site.db.run(outages.store_tokens({job.id: stored}))
        status, _, body = await call(site, "GET", site.url("variables/a"), old)
        assert (status, b"token_expired" in body, site.airflow.calls) == (503, True, [])


async def test_a_token_that_airflow_no_longer_accepts_is_replaced(site: Site) -> None:
    """Airflow's key was changed while the task ran."""
    [job] = site.db.rows("SELECT id, owner FROM edge.job")
    site.airflow.answer = Answer(403, b'{"detail":"Invalid auth token"}', {"Content-Type": "application/json"})
    mine = site.headers(**{TASK_HEADER: task_token(job.id, iat=1)})
    status, _, body = await call(site, "GET", site.url("variables/a"), mine)
    assert (status, b"token_expired" in body) == (503, True)
    with site.db.connection() as connection:
        assert len(rows(connection, outages.want_token(job.owner))) == 1
    # Any other refusal is Airflow's answer to the task.
    site.airflow.answer = Answer(
        403, b'{"detail":"Token subject does not match"}', {"Content-Type": "application/json"}
    )
    status, _, body = await call(site, "GET", site.url("variables/a"), mine)
    assert (status, body) == (403, b'{"detail":"Token subject does not match"}')
