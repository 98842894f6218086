"""An `edge-worker` process and the credential that it starts with."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from edge_testing.workers.scripts import SHELL_AGENT

WAIT_S = 30.0


class AgentProcess:
    """An `edge-worker run`, started by `start_agent`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Process id of the agent."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the agent itself, not to its children."""
        self._process.send_signal(number)

    async def exit_code(self, timeout_s: float = WAIT_S) -> int:
        """Wait until it has ended, and return its exit code."""
        async with asyncio.timeout(timeout_s):
            return await self._process.wait()

    async def kill(self) -> None:
        """Kill it with -9, if it still runs."""
        if self.running:
            self.signal(signal.SIGKILL)
            await self._process.wait()

    def output(self) -> str:
        """Return what it has logged."""
        return self.log.read_text()


async def start_agent(
    state_dir: Path, log: Path, *options: str, name: str = "w1", airflow: bool = False, environ: Mapping[str, str]
) -> AgentProcess:
    """Start an agent; its tasks are shell commands, or with `airflow` those of the Task SDK."""
    program = ["-m", "edge_worker"] if airflow else [str(SHELL_AGENT)]
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *program, "run", "--name", name, "--state-dir", str(state_dir), *options),
            env={**os.environ, "EDGE_WORKER_LOG_LEVEL": "DEBUG", **environ},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return AgentProcess(process, log)


def write_credential(state_dir: Path, worker: str, api_url: str, credential: str) -> None:
    """Write the credential of a worker as `edge-worker enroll` does, into a new state folder."""
    state_dir.mkdir(parents=True)
    content = {
        "worker": worker,
        "credential": credential,
        "credential_id": str(uuid4()),
        "expires_at": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
        "api_url": api_url,
    }
    (state_dir / "credential.json").write_text(json.dumps(content))
