"""A real worker (with the runner of shell commands) enrolled at a real edge API, and the commands of its host."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from uuid import UUID

from edge_testing.database.db import Db
from edge_testing.edge_api.admin import AdminClient
from edge_testing.waiting import until
from edge_testing.workers.agent import WAIT_S, AgentProcess, start_agent, write_credential


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def status(self) -> dict[str, Any]:
        """The JSON that it printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found


async def run(*command: str, environ: dict[str, str] | None = None, errors: Path | None = None) -> Result:
    """Run a command to its end; its stderr can be read from the file `errors` while it runs."""
    with TemporaryFile() if errors is None else errors.open("w+b") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **(environ or {})},
        )
        try:
            async with asyncio.timeout(WAIT_S):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        stderr.seek(0)
        return Result(process.returncode or 0, out.decode(), stderr.read().decode())


class Worker:
    """An enrolled worker with its state folder; it can be started more than once."""

    def __init__(self, folder: Path, api_url: str, credential: str, name: str = "w1") -> None:
        self.name = name
        self.api_url = api_url
        self.state_dir = folder / name
        self.log = folder / f"{name}.log"
        self._agent: AgentProcess | None = None
        write_credential(self.state_dir, name, api_url, credential)

    async def start(self, *options: str, environ: dict[str, str] | None = None) -> None:
        """Start its agent."""
        self._agent = await start_agent(self.state_dir, self.log, *options, name=self.name, environ=environ or {})

    @property
    def agent(self) -> AgentProcess:
        """The agent process of the last start."""
        assert self._agent is not None, f"{self.name} was never started"
        return self._agent

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the execution of its agent inside the block."""
        self.agent.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.agent.signal(signal.SIGCONT)

    async def kill(self) -> None:
        """Kill its agent with -9, if it runs."""
        if self._agent is not None:
            await self._agent.kill()

    async def command(self, *arguments: str, errors: Path | None = None) -> Result:
        """Run an `edge-worker` command on its host."""
        place = ("--state-dir", str(self.state_dir))
        return await run(sys.executable, "-m", "edge_worker", *arguments, *place, errors=errors)

    async def status(self) -> dict[str, Any]:
        """Return what `edge-worker status` prints as JSON."""
        result = await self.command("status", "-o", "json")
        assert result.code == 0, result.err
        return result.status


class Tasks:
    """Jobs whose tasks run until the test lets them go."""

    def __init__(self, db: Db, folder: Path) -> None:
        self._db = db
        self._folder = folder

    def queue(self, name: str, **changes: Any) -> UUID:
        """Queue a job that runs until `let_go`."""
        script = f"touch {self._folder}/{name}.begun; while [ ! -e {self._folder}/{name}.go ]; do sleep 0.05; done"
        [job] = self._db.enqueue(workload=script, **changes)
        return job

    async def begun(self, name: str) -> None:
        """Wait until a job's task has begun."""
        await until((self._folder / f"{name}.begun").exists, f"task {name} has begun")

    def let_go(self, name: str) -> None:
        """Let a job's task end."""
        (self._folder / f"{name}.go").touch()


async def reaches(admin: AdminClient, state: str, name: str = "w1") -> Any:
    """Wait until the admin API shows a worker in a state, and return its view."""

    async def view() -> Any:
        found = await admin.call("GET", f"/workers?name={name}")
        return next((item for item in found["items"] if item["state"] == state), None)

    return await until(view, f"{name} is {state}")
