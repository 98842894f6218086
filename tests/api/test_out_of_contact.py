"""Workers that are out of contact, as they, the edge API and people see it."""

import json
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text

from edge_protocol.limits import OUTAGE_TOLERANCE_MAX_S
from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import admin_credential, bearer, enroll
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import connect, frame, heartbeat, hello, session
from edge_testing.waiting import until

INTERVAL_S = 0.2
LEAST_S = 3 * INTERVAL_S + 5
"""The shortest outage tolerance, without the worker's kill grace."""


@pytest.fixture
async def api(start_api: StartApi) -> ApiProcess:
    return await start_api(
        heartbeat_interval_s=INTERVAL_S,
        execution_api_url="http://127.0.0.1:1/execution/",
        queue_outage_tolerance_s=json.dumps({"short": 8, "none": 0}),
    )


async def admin(api: ApiProcess, db: Db, method: str, path: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(headers=bearer(admin_credential(db))) as http,
        http.request(method, f"{api.url}/edge_worker/admin/v1/{path}") as answer,
    ):
        return answer.status, await answer.json(content_type=None)


@pytest.mark.parametrize(("tolerance_s", "grace_s"), [(1, 0), (5, 0), (10, 5), (OUTAGE_TOLERANCE_MAX_S, 10**6)])
async def test_a_tolerance_that_is_too_short_is_refused(
    api: ApiProcess, db: Db, tolerance_s: int, grace_s: int
) -> None:
    async with connect(api.url, await enroll(api.url, db.url, "w1")) as worker:
        await worker.send(hello("w1", outage_tolerance_s=tolerance_s, kill_grace_s=grace_s))
        if grace_s > OUTAGE_TOLERANCE_MAX_S:
            await worker.expect("error")
            return
        error = await worker.expect("error", code="bad_tolerance", fatal=True)
        assert "EDGE_WORKER_OUTAGE_TOLERANCE_S to 0, or to" in error["message"]


@pytest.mark.parametrize("tolerance", [-1, OUTAGE_TOLERANCE_MAX_S + 1, "soon", 2.5])
async def test_a_tolerance_that_is_none_is_refused(api: ApiProcess, db: Db, tolerance: Any) -> None:
    async with connect(api.url, await enroll(api.url, db.url, "w1")) as worker:
        await worker.send(hello("w1", outage_tolerance_s=tolerance))
        error = await worker.expect("error")
        assert "outage_tolerance_s" in error["message"]


@pytest.mark.parametrize(("queue", "expected_s"), [("default", 600), ("short", 8), ("none", 0)])
async def test_a_job_says_how_long_it_is_kept(api: ApiProcess, db: Db, queue: str, expected_s: int) -> None:
    db.enqueue(queue=queue)
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential, outage_tolerance_s=600, kill_grace_s=1.5, queues=[queue]) as worker:
        assert (await worker.expect("job"))["outage_tolerance_s"] == expected_s


async def test_without_forwarding_no_job_is_kept(start_api: StartApi, db: Db) -> None:
    """Then a task calls Airflow directly, and nothing holds its calls during a cut."""
    api = await start_api()
    db.enqueue()
    async with session(api.url, await enroll(api.url, db.url, "w1"), outage_tolerance_s=600) as worker:
        assert (await worker.expect("job"))["outage_tolerance_s"] == 0


async def test_a_heartbeat_that_asks_for_it_is_acknowledged_once_it_is_stored(api: ApiProcess, db: Db) -> None:
    async with session(api.url, await enroll(api.url, db.url, "w1")) as worker:
        before = db.worker("w1").last_heartbeat
        await worker.send(heartbeat(mark=7))
        await worker.expect("heartbeat_ack", mark=7)
        assert db.worker("w1").last_heartbeat > before
        await worker.send(heartbeat(), heartbeat(mark=8), heartbeat())
        await worker.expect("heartbeat_ack", mark=8)
        await worker.send(heartbeat(), heartbeat(mark=9))
        await worker.expect("heartbeat_ack", mark=9)
        assert [seen["mark"] for seen in worker.seen if seen["type"] == "heartbeat_ack"] == [7, 8, 9]


async def test_no_heartbeat_is_acknowledged_that_the_database_refuses_to_take(api: ApiProcess, db: Db) -> None:
    async with session(api.url, await enroll(api.url, db.url, "w1")) as worker:
        with db.connection() as lock:
            lock.execute(text("SELECT FROM edge.worker FOR UPDATE"))
            await worker.send(heartbeat(mark=1))
            await worker.send(frame("accept", lease_id="00000000-0000-0000-0000-000000000001"))
            await worker.expect("fenced")
            assert not worker.has("heartbeat_ack")
        await worker.expect("heartbeat_ack", mark=1)


async def test_what_people_see_while_a_worker_is_out_of_contact(api: ApiProcess, db: Db) -> None:
    credential = await enroll(api.url, db.url, "w1")
    [job] = db.enqueue()
    async with session(api.url, credential, outage_tolerance_s=600) as worker:
        lease = await worker.accept()
        await worker.cut()
    await until(lambda: db.worker("w1").lost, "the worker is unknown")
    assert db.state(job) == "running"
    _, seen = await admin(api, db, "GET", "workers/w1")
    assert (seen["state"], seen["jobs_active"], seen["outage_tolerance_s"]) == ("unknown", 1, 600)
    assert seen["jobs_kept_until"] > seen["last_heartbeat"]
    _, explained = await admin(api, db, "GET", f"jobs/{job}/explain")
    assert "out of contact since" in explained["message"]
    assert f"kept until {seen['jobs_kept_until'][:19]}" in explained["message"]
    assert explained["job"]["outage_tolerance_s"] == 600
    async with aiohttp.ClientSession() as http, http.get(f"{api.url}/metrics") as answer:
        assert "airflow_edge_jobs_out_of_contact 1.0" in await answer.text()
    status, refusal = await admin(api, db, "DELETE", "workers/w1")
    assert (status, refusal["code"]) == (409, "worker_out_of_contact")
    assert "may still run until" in refusal["detail"]
    async with session(api.url, credential, outage_tolerance_s=600, held=[lease]) as worker:
        await worker.report(lease)
    assert db.state(job) == "succeeded"


async def test_a_task_that_outlives_its_tolerance_is_lost_and_its_worker_told(api: ApiProcess, db: Db) -> None:
    credential = await enroll(api.url, db.url, "w1")
    [job] = db.enqueue(queue="short")
    async with session(api.url, credential, outage_tolerance_s=600, queues=["short"]) as worker:
        lease = await worker.accept()
        await worker.cut()
    await until(lambda: db.state(job) == "lost", "its job is given up")
    assert "outage tolerance of 8 s" in db.job(job).error
    events = db.rows("SELECT kind FROM edge.worker_event WHERE kind IN ('lost', 'jobs_given_up') ORDER BY id")
    assert [event.kind for event in events] == ["lost", "jobs_given_up"]
    async with session(api.url, credential, outage_tolerance_s=600, queues=["short"], held=[lease]) as worker:
        await worker.expect("fenced", lease_id=lease)
