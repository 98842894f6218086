"""Real agent processes, against an edge API that tests steer."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from edge_testing.edge_api.fake import WAIT_S, FakeEdgeApi
from edge_testing.waiting import until as poll
from edge_testing.workers.scripts import SHELL_AGENT


class AgentProcess:
    """An `edge-worker` process. Its own log goes to a file, shown where a test fails."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def exit_code(self, timeout_s: float = WAIT_S) -> int:
        async with asyncio.timeout(timeout_s):
            return await self.process.wait()

    def output(self) -> str:
        return self.log.read_text()


StartAgent = Callable[..., Any]


@pytest.fixture
def until() -> Callable[..., Any]:
    """Poll a condition with a deadline: `await until(condition, "what is waited for")`."""
    return poll


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
    folder.mkdir()
    write_credential(folder, api)
    return folder


def write_credential(folder: Path, api: FakeEdgeApi) -> None:
    content = {
        "worker": "w1",
        "credential": api.credential,
        "credential_id": str(uuid4()),
        "expires_at": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
        "api_url": api.url,
    }
    (folder / "credential.json").write_text(json.dumps(content))


@pytest.fixture
async def start_agent(state_dir: Path, tmp_path: Path) -> AsyncIterator[StartAgent]:
    """Start agents; by default the enrolled worker `w1` with the runner of shell commands."""
    started: list[AgentProcess] = []

    async def start(*options: str, airflow: bool = False, environ: dict[str, str] | None = None) -> AgentProcess:
        program = ["-m", "edge_worker"] if airflow else [str(SHELL_AGENT)]
        log = tmp_path / f"agent{len(started)}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *program,
                "run",
                "--name",
                "w1",
                "--state-dir",
                str(state_dir),
                *options,
                env={**os.environ, "EDGE_WORKER_LOG_LEVEL": "DEBUG", **(environ or {})},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        agent = AgentProcess(process, log)
        started.append(agent)
        return agent

    yield start
    for agent in started:
        if agent.process.returncode is None:
            agent.signal(signal.SIGKILL)
            await agent.process.wait()
        sys.stdout.write(f"---- {agent.log.name}\n{agent.output()}")
