"""Real agent processes, against an edge API that tests steer."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from edge_protocol.frames import Heartbeat, HeartbeatAck, Job
from edge_testing.edge_api.fake import FakeEdgeApi
from edge_testing.workers import agent
from edge_testing.workers.agent import AgentProcess, write_credential

StartAgent = Callable[..., Any]


class EdgeApi(FakeEdgeApi):
    """An edge API whose jobs may survive without contact, and that answers calls of tasks as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.ack_heartbeats = True
        self.answers: dict[str, Any] = {}
        """Answers to calls of tasks whose path ends like this: a response, or an event; until that is set, none."""

    def offer_tolerant(self, workload: str, tolerance_s: int) -> UUID:
        """Offer a job that survives without contact for a time; return its lease."""
        lease = uuid4()
        job = Job(lease_id=lease, job_id=uuid4(), kind="task", slots=1, log_path="a/b.log", workload=workload)
        job = job.model_copy(update={"outage_tolerance_s": tolerance_s})
        if self._session is None:
            self._pending.append(job)
        else:
            self.send(job)
        return lease

    def _on(self, text: str) -> None:
        super()._on(text)
        frame = self.frames[-1]
        if isinstance(frame, Heartbeat) and frame.mark is not None and self.ack_heartbeats:
            self.send(HeartbeatAck(mark=frame.mark))

    async def _execution(self, request: web.Request) -> web.Response:
        answer = await super()._execution(request)
        for end, found in self.answers.items():
            if request.path.endswith(end):
                if isinstance(found, asyncio.Event):
                    await found.wait()
                else:
                    return web.Response(status=found.status, body=found.body, headers=found.headers)
        return answer


@pytest.fixture
async def api() -> AsyncIterator[EdgeApi]:
    """A running edge API."""
    server = EdgeApi()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def state_dir(tmp_path: Path, api: FakeEdgeApi) -> Path:
    """State folder of the enrolled worker `w1`."""
    folder = tmp_path / "state"
    write_credential(folder, "w1", api.url, api.credential)
    return folder


@pytest.fixture
async def start_agent(state_dir: Path, tmp_path: Path) -> AsyncIterator[StartAgent]:
    """Start agents; by default the enrolled worker `w1` with the runner of shell commands."""
    started: list[AgentProcess] = []

    async def start(*options: str, airflow: bool = False, environ: dict[str, str] | None = None) -> AgentProcess:
        log = tmp_path / f"agent{len(started)}.log"
        started.append(await agent.start_agent(state_dir, log, *options, airflow=airflow, environ=environ or {}))
        return started[-1]

    yield start
    for process in started:
        await process.kill()
        sys.stdout.write(f"---- {process.log.name}\n{process.output()}")
