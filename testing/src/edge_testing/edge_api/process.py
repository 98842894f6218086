"""A real API process, and the database beside it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Protocol, Self

import aiohttp

from edge_demo.environment import free_port
from edge_testing.database.server import as_api_role

DEADLINE_S = 20.0


class ApiProcess:
    """`edge-api serve` as a process of its own, on a port that it keeps over restarts."""

    def __init__(self, database: str, log: Path, **settings: Any) -> None:
        self.database = database
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("EDGE_API_")},
            "EDGE_API_DATABASE_URL": as_api_role(database),
            "EDGE_API_PORT": str(self.port),
            **{f"EDGE_API_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

    def start(self) -> None:
        command = [sys.executable, "-m", "edge_api", "serve"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self._environment, stderr=log, stdout=log)

    def wait_ready(self) -> None:
        end = time.monotonic() + DEADLINE_S
        while not self._is_ready():
            assert time.monotonic() < end, f"not ready: {self.log.read_text()}"
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the process has ended: {self.log.read_text()}"
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=DEADLINE_S) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.terminate()

    async def metric(self, name: str) -> float:
        """Return one sample by its full name with labels; 0 while there is none."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith(f"{name} "):
                    return float(line.rpartition(" ")[2])
        return 0

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


class StartApi(Protocol):
    async def __call__(self, **settings: Any) -> ApiProcess: ...
