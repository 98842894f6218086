"""The edge API as a process of its own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, Self

import aiohttp

from edge_demo.environment import LOCALHOST, free_port
from edge_demo.processes import ManagedProcess, answers, wait_until
from edge_testing.database.server import as_api_role

DEADLINE_S = 60.0


class ApiProcess(ManagedProcess):
    """`edge-api serve`, on a port that it keeps over restarts; `settings` are those of the edge API, by name."""

    def __init__(self, database: str, log: Path, **settings: Any) -> None:
        self.database = database
        self.port = free_port()
        self.url = f"http://{LOCALHOST}:{self.port}"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("EDGE_API_")},
            "EDGE_API_DATABASE_URL": as_api_role(database),
            "EDGE_API_PORT": str(self.port),
            **{f"EDGE_API_{name.upper()}": str(value) for name, value in settings.items()},
        }
        super().__init__("edge-api", [sys.executable, "-m", "edge_api", "serve"], environment, log, log.parent)

    def __enter__(self) -> Self:
        self.start()
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.end(DEADLINE_S)
        self.assert_no_traceback()

    def wait_ready(self) -> None:
        """Wait until it serves workers."""
        wait_until(lambda: answers(f"{self.url}/readyz"), f"{self.url} is ready", DEADLINE_S, [self])

    def assert_no_traceback(self) -> None:
        """Check that no unexpected exception is in its log."""
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

    async def metric(self, name: str) -> float:
        """Return one sample by its full name with labels; 0 while there is none."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith(f"{name} "):
                    return float(line.rpartition(" ")[2])
        return 0

    def lines(self) -> list[dict[str, Any]]:
        """Return the messages of its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


class StartApi(Protocol):
    """Starts an edge API with settings and returns it once it is ready."""

    async def __call__(self, **settings: Any) -> ApiProcess:
        """Start one."""
        ...


@asynccontextmanager
async def api_starter(database: str, folder: Path, **defaults: Any) -> AsyncIterator[StartApi]:
    """Start edge APIs on one database; at the end all are stopped, and none may have logged an exception."""
    started: list[ApiProcess] = []

    async def start(**settings: Any) -> ApiProcess:
        api = ApiProcess(database, folder / f"api-{len(started)}.log", **{**defaults, **settings})
        started.append(api)
        api.start()
        await asyncio.to_thread(api.wait_ready)
        return api

    yield start
    for api in started:
        if api.running:
            api.end(DEADLINE_S)
    for api in started:
        api.assert_no_traceback()
