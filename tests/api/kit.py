"""A real API process, and the database beside it."""

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import aiohttp
import pytest
from sqlalchemy import Engine, Row, text, update

from edge_api.cli.main import main
from edge_protocol import rest
from edge_store.database import engine
from edge_store.database.notify import Notification, notify
from edge_store.jobs import scheduling
from edge_store.schema.tables import worker_desired
from tests.api_role import as_api_role
from tests.store.kit import new_job

DEADLINE_S = 20.0


async def until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Poll a condition, which may be a coroutine function, until it gives something true, and return that."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < end, f"in {deadline_s} s it did not come true: {what}"
        await asyncio.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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


class Db:
    """The database as a scheduler and a test see it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine: Engine = engine.make_engine(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def rows(self, statement: Any) -> list[Row[Any]]:
        if isinstance(statement, str):
            statement = text(statement)
        with self._engine.begin() as connection:
            result = connection.execute(statement)
            return list(result.all()) if result.returns_rows else []

    def empty(self) -> None:
        """Delete what tests leave behind."""
        for table in ("job", "lease", "worker", "credential"):
            self.rows(f"DELETE FROM edge.{table}")

    def enqueue(self, count: int = 1, **changes: Any) -> list[UUID]:
        new = [new_job(**changes) for _ in range(count)]
        with self._engine.begin() as connection:
            for job in new:
                connection.execute(scheduling.enqueue(job))
        return [job.id for job in new]

    def job(self, job_id: UUID) -> Row[Any]:
        return self.rows(text("SELECT * FROM edge.job WHERE id = :id").bindparams(id=job_id))[0]

    def state(self, job_id: UUID) -> str:
        return str(self.job(job_id).state)

    def revoke(self, job_id: UUID) -> None:
        self.rows(scheduling.revoke(job_id))

    def wish(self, worker: str, **values: Any) -> None:
        """Change what is desired of a worker, as an administrator does."""
        change = update(worker_desired).where(worker_desired.c.worker_name == worker)
        with self._engine.begin() as connection:
            connection.execute(change.values(version=worker_desired.c.version + 1, **values))
            connection.execute(notify(Notification("desired", worker)))

    def worker(self, name: str) -> Row[Any]:
        return self.rows(text("SELECT * FROM edge.worker WHERE name = :name").bindparams(name=name))[0]

    def log_of(self, lease: UUID) -> bytes:
        statement = text("SELECT data FROM edge.log WHERE lease_id = :id ORDER BY start").bindparams(id=lease)
        return b"".join(row.data for row in self.rows(statement))


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def edge_api(database: str | None, *arguments: str, **variables: str) -> Done:
    """Run an `edge-api` command to its end: its own code, but without a process for it."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.delenv("EDGE_API_DATABASE_URL", raising=False)
        for name, value in {**variables, **({} if database is None else {"EDGE_API_DATABASE_URL": database})}.items():
            patch.setenv(name, value)
        try:
            code = main(arguments)
        except SystemExit as stop:  # as argparse ends
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def join_token(database: str, *options: str) -> str:
    made = edge_api(database, "token", "create", *options)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


async def enroll(url: str, database: str, name: str, *options: str) -> str:
    """Enrol a worker and return its credential."""
    body = {"join_token": join_token(database, *options), "worker": name}
    async with aiohttp.ClientSession() as http, http.post(f"{url}{rest.ENROLL_PATH}", json=body) as answer:
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["credential"])


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}
