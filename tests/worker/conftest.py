"""Real agent processes, against an edge API that tests steer."""

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from edge_testing.edge_api.fake import FakeEdgeApi
from edge_testing.workers import agent
from edge_testing.workers.agent import AgentProcess, write_credential

StartAgent = Callable[..., Any]


@pytest.fixture
async def api() -> AsyncIterator[FakeEdgeApi]:
    """A running edge API."""
    server = FakeEdgeApi()
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
