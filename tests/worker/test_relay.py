"""The relay of a real agent: the calls of a task, and nobody else's, go to the edge API."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web

from edge_protocol.execution import EXECUTION_PATH, TASK_HEADER
from edge_protocol.frames import Cancel, Report
from edge_protocol.rest import Problem
from edge_testing.edge_api.fake import FakeEdgeApi
from edge_testing.waiting import until
from edge_testing.workers.agent import AgentProcess

HEADERS = {"Authorization": "Bearer task-token", "Content-Type": "application/json", "Cookie": "x"}


class Task:
    """A running task that waits, and the URL that its supervisor was given."""

    def __init__(self, api: FakeEdgeApi, agent: AgentProcess, lease: UUID, url: str, gate: Path) -> None:
        self.api = api
        self.agent = agent
        self.lease = lease
        self.url = url
        self._gate = gate

    async def end(self) -> None:
        self._gate.touch()
        await self.api.wait_for(Report, self.lease)


@pytest.fixture
async def task(api: FakeEdgeApi, start_agent: Any, tmp_path: Path) -> Task:
    api.welcome["execution_forwarded"] = True
    agent = await start_agent()
    gate = tmp_path / "gate"
    lease = api.offer(f'echo "$EXECUTION_API"; until [ -e {gate} ]; do sleep 0.05; done')
    url = (await api.wait_log(lease, b"\n")).decode().strip()
    return Task(api, agent, lease, url, gate)


async def call(
    url: str, method: str = "GET", data: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url, headers={**HEADERS, **headers}, data=data) as answer,
    ):
        return answer.status, dict(answer.headers), await answer.read()


async def test_a_call_goes_to_the_edge_api_with_the_workers_credential(task: Task) -> None:
    task.api.execution = web.Response(
        status=201, body=b'"kept"', headers={"Content-Type": "application/json", "Refreshed-API-Token": "next"}
    )
    status, headers, body = await call(f"{task.url}xcoms/my%2520dag/r/t/k?map_index=1", "POST", b'"value"')
    assert (status, body, headers["Refreshed-API-Token"]) == (201, b'"kept"', "next")
    [(path, seen, sent)] = task.api.execution_calls
    assert path == f"{EXECUTION_PATH}/{task.lease}/xcoms/my%2520dag/r/t/k?map_index=1"
    assert (seen["Authorization"], seen[TASK_HEADER]) == ("Bearer good", "task-token")
    assert (sent, seen["Content-Type"], "Cookie" in seen) == (b'"value"', "application/json", False)


async def test_a_refusal_is_readable_for_airflows_supervisor(task: Task) -> None:
    problem = Problem(title="Gone", status=410, detail="The task's job is over.", code="fenced")
    task.api.execution = task.api.problem(problem)
    status, headers, body = await call(f"{task.url}task-instances/1/heartbeat", "PUT", b"{}")
    # With a charset, the supervisor would not end the task.
    assert (status, headers["Content-Type"]) == (410, "application/json")
    assert body == b'{"detail": {"reason": "fenced", "message": "The task\'s job is over."}}'


async def test_a_call_is_held_while_the_edge_api_is_away(task: Task) -> None:
    await task.api.stop()
    held = asyncio.create_task(call(f"{task.url}variables/x", "PUT", b"{}"), name="held call")
    await until(lambda: "is held" in task.agent.output(), "the call is held")
    assert not held.done()
    await task.api.start()
    assert (await held)[0] == 200
    assert [sent for _, _, sent in task.api.execution_calls] == [b"{}"]


async def test_a_held_call_is_answered_when_its_task_must_end(task: Task) -> None:
    """A supervisor that waits for an answer hears no signal."""
    away = Problem(title="Away", status=503, detail="Airflow does not answer.", code="airflow_away")
    task.api.execution = task.api.problem(away)
    held = asyncio.create_task(call(f"{task.url}variables/x"), name="held call")
    await until(lambda: task.api.execution_calls, "the call has come")
    task.api.send(Cancel(lease_id=task.lease, reason="revoked"))
    status, headers, body = await held
    assert (status, headers["Content-Type"], b"Airflow does not answer" in body) == (503, "application/json", True)
    assert (await task.api.wait_for(Report, task.lease)).outcome == "failed"


async def test_a_call_that_its_supervisor_gave_up_is_not_repeated(task: Task) -> None:
    away = Problem(title="Away", status=503, detail="Airflow does not answer.", code="airflow_away")
    task.api.execution = task.api.problem(away)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await call(f"{task.url}variables/x", "PUT", b"first")
    assert {sent for _, _, sent in task.api.execution_calls} == {b"first"}
    task.api.execution = web.Response(body=b"{}", headers={"Content-Type": "application/json"})
    task.api.execution_calls.clear()
    assert (await call(f"{task.url}variables/x", "PUT", b"second"))[0] == 200
    assert [sent for _, _, sent in task.api.execution_calls] == [b"second"]


async def test_a_wrong_secret_leads_nowhere(task: Task) -> None:
    secret = task.url.rstrip("/").rpartition("/")[2]
    for wrong in ("x" * len(secret), secret[:-1], ""):
        assert (await call(f"{task.url.replace(secret, wrong)}variables/x"))[0] == 404
    assert task.api.execution_calls == []


async def test_the_url_ends_with_the_task(task: Task) -> None:
    assert (await call(f"{task.url}variables/x"))[0] == 200
    await task.end()
    assert (await call(f"{task.url}variables/x"))[0] == 404
    assert len(task.api.execution_calls) == 1
