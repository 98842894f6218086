"""One runner process as the agent sees it."""

import asyncio
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from edge_worker.host import processes
from edge_worker.tasks.launcher import StartOrder, TaskExit

log = logging.getLogger(__name__)

_LINE_MAX_BYTES = 1 << 20


class RunnerStartError(Exception):
    """A runner process did not become ready."""

    def __init__(self, reason: str, *, module: str | None = None) -> None:
        super().__init__(reason)
        self.module = module
        """The module that is to blame, where one is."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What a runner says of itself when it is ready."""

    modules: int
    resident_bytes: int | None
    skipped: Mapping[str, str]


class RunnerProcess:
    """A started runner. Its end of the channel is the only tie: when the agent dies, it sees the end of the stream."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.running: set[UUID] = set()

    @classmethod
    async def spawn(cls, command: Sequence[str], lock_fd: int, environ: Mapping[str, str]) -> "RunnerProcess":
        """Start a runner process.

        Raises:
            OSError: it cannot be started.

        """
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            process = await asyncio.to_thread(_popen, command, theirs.fileno(), lock_fd, environ)
        reader, writer = await asyncio.open_connection(sock=ours, limit=_LINE_MAX_BYTES)
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def become_ready(self, modules: Sequence[str]) -> Ready:
        """Have the runner import `modules` and wait until it is ready.

        Raises:
            RunnerStartError: it says that it is not fit, or dies.

        """
        self._send({"op": "preload", "modules": list(modules)})
        importing: str | None = None
        while (message := await self._receive()) is not None:
            match message["event"]:
                case "importing":
                    importing = message["module"]
                case "unfit":
                    raise RunnerStartError(message["reason"], module=message["module"])
                case "broken":
                    raise RunnerStartError(message["reason"])
                case "ready":
                    return Ready(message["modules"], message["resident_bytes"], message["skipped"])
        raise RunnerStartError("the runner process died while it started", module=importing)

    async def serve(self, on_exit: Callable[[TaskExit], None]) -> None:
        """Tell about ends of tasks until the process is gone."""
        while (message := await self._receive()) is not None:
            if message["event"] == "exit":
                lease_id = UUID(message["lease"])
                self.running.discard(lease_id)
                on_exit(TaskExit(lease_id, message["status"], message["detail"]))

    def start(self, order: StartOrder) -> None:
        """Have a task started."""
        self.running.add(order.lease_id)
        self._send(
            {
                "op": "run",
                "lease": str(order.lease_id),
                "folder": str(order.folder),
                "workload": order.workload,
                "log_file": str(order.log_file) if order.log_file else None,
                "server": order.server,
            }
        )

    def kill(self, lease_id: UUID, grace_s: float) -> None:
        """Have a task ended."""
        self._send({"op": "kill", "lease": str(lease_id), "grace_s": grace_s})

    def retire(self) -> None:
        """Have the runner exit once its tasks have ended."""
        self._send({"op": "retire"})

    async def close(self, wait_s: float) -> None:
        """End the runner and whatever it started."""
        self._writer.close()
        try:
            await asyncio.to_thread(self._process.wait, wait_s)
        except subprocess.TimeoutExpired:
            await asyncio.to_thread(processes.kill_tree, self.pid)
            await asyncio.to_thread(self._process.wait)
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    def _send(self, message: dict[str, Any]) -> None:
        # A runner that died is noticed in `serve`; what could not be sent is then settled as lost.
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _receive(self) -> dict[str, Any] | None:
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None


def runner_environ(environ: Mapping[str, str], ca_bundle: str | None) -> dict[str, str]:
    """Return the environment of runner processes: the agent's without its secrets, with the Execution API's trust."""
    kept = {name: value for name, value in environ.items() if name != "EDGE_WORKER_JOIN_TOKEN"}
    if ca_bundle is not None:
        kept.setdefault("AIRFLOW__API__SSL_CA_FILE", ca_bundle)
    return kept


def runner_command(module: str) -> list[str]:
    """Return the command that starts a runner module of this package."""
    return [sys.executable, "-m", f"edge_worker.runner.{module}"]


def _popen(
    command: Sequence[str], control_fd: int, lock_fd: int, environ: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command, "--control-fd", str(control_fd), "--lock-fd", str(lock_fd)],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        env=dict(environ),
        pass_fds=(control_fd, lock_fd),
        # Apart from the terminal: Ctrl-C is for the agent, which then lets tasks finish.
        start_new_session=True,
    )
