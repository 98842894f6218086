"""Runner processes, as the agent sees them: one pool that starts tasks; templates come and go behind it.

A template is never changed. When tasks turn out to import more than it has, a new one is started in the background;
once it is ready, new tasks go there, and the old one exits after its last task. A template that does not become ready
is discarded, the module that caused it is excluded from later ones, and the previous template stays in use.
"""

import asyncio
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from edge_worker.backoff import Backoff
from edge_worker.errors import RunnerBrokenError
from edge_worker.host import processes
from edge_worker.host.signals import on_child_end
from edge_worker.relay.relay import HOST, supervisor_timeout_s
from edge_worker.tasks.contact import Contact, Tolerance
from edge_worker.tasks.learned import LearnedModules, RefreshPolicy
from edge_worker.tasks.outcome import TaskExit
from edge_worker.tasks.packages import installed_packages

log = logging.getLogger(__name__)

START_TIMEOUT_S = 120.0
"""Seconds for a runner process to import everything."""
CLOSE_TIMEOUT_S = 15.0
"""Seconds for a runner process to end its tasks and itself."""
FIRST_ATTEMPTS = 3
"""Failed starts, before the first success, after which this host counts as unable to run tasks."""
PACKAGES_LOOK_S = 15.0
"""Seconds between looks at the installed packages; unchanged at two looks, an installation counts as finished."""
_BLAME_MAX = 25
"""Modules denied one after the other before a start counts as failed."""
_LINE_MAX_BYTES = 1 << 20

ExitListener = Callable[[TaskExit], None]
"""Called when the supervisor process of a task has ended."""


@dataclass(frozen=True, slots=True)
class StartOrder:
    """A task to start."""

    lease_id: UUID
    folder: Path
    workload: str
    log_file: Path | None
    server: str | None
    """URL of the Execution API; None: the one in Airflow's configuration."""
    tolerance: Tolerance | None = None
    """How long the task survives without contact; None: for as long as its worker lets it."""


class RunnerStartError(Exception):
    """A runner process did not become ready."""

    def __init__(self, reason: str, *, module: str | None = None) -> None:
        super().__init__(reason)
        self.module = module
        """The module that caused it, if one did."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The report of a runner that is ready."""

    modules: int
    resident_bytes: int | None
    skipped: Mapping[str, str]


class RunnerProcess:
    """A runner process. When the agent dies, the runner sees the end of the stream and ends its tasks."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.running: dict[UUID, int | None] = {}
        """Leases whose tasks it runs, each with the process id of the supervisor once that has started."""

    @classmethod
    async def spawn(cls, command: Sequence[str], lock_fd: int, environ: Mapping[str, str]) -> Self:
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
        """The runner's process id."""
        return self._process.pid

    async def become_ready(self, modules: Sequence[str]) -> Ready:
        """Have the runner import `modules` and wait until it is ready.

        Raises:
            RunnerStartError: it reports that it must not be forked, or it dies.

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
        """Report ends of tasks until the process has ended."""
        while (message := await self._receive()) is not None:
            if message["event"] == "started":
                self.running[UUID(message["lease"])] = message["pid"]
            elif message["event"] == "exit":
                lease_id = UUID(message["lease"])
                self.running.pop(lease_id, None)
                status = message["status"]
                started = status is not None
                on_exit(TaskExit(lease_id, status, message["detail"], started=started, killed=message["killed"]))

    def start(self, order: StartOrder) -> None:
        """Send the order to start a task."""
        self.running[order.lease_id] = None
        self._send(
            {
                "op": "run",
                "lease": str(order.lease_id),
                "folder": str(order.folder),
                "workload": order.workload,
                "log_file": str(order.log_file) if order.log_file else None,
                "server": order.server,
                "tolerance": asdict(order.tolerance) if order.tolerance is not None else None,
            }
        )

    def kill(self, lease_id: UUID, grace_s: float) -> None:
        """Send the order to end a task."""
        self._send({"op": "kill", "lease": str(lease_id), "grace_s": grace_s})

    def renew_contact(self, at: float) -> None:
        """Report the last contact, from which the runner counts how long tasks survive."""
        self._send({"op": "contact", "at": at})

    def retire(self) -> None:
        """Send the order to exit once all tasks have ended."""
        self._send({"op": "retire"})

    async def close(self, wait_s: float) -> None:
        """End the runner and everything below it."""
        self._writer.close()
        try:
            await asyncio.to_thread(self._process.wait, wait_s)
        except subprocess.TimeoutExpired:
            await asyncio.to_thread(processes.kill_tree, self.pid)
            await asyncio.to_thread(self._process.wait)
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    def _send(self, message: dict[str, Any]) -> None:
        # A runner that has died is noticed in `serve`; its tasks are reported as lost there.
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _receive(self) -> dict[str, Any] | None:
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None


class RunnerPool:
    """The current runner process, its retiring predecessors and its starting successor."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        lock_fd: int,
        environ: Mapping[str, str],
        learned: LearnedModules | None,
    ) -> None:
        """Set up; `learned` is None for runners that do not preload."""
        self.contact = Contact()
        """The last contact of this worker; `renew_contact` reports it to the runners."""
        self._command = command
        self._lock_fd = lock_fd
        self._environ = environ
        self._learned = learned
        self._policy = RefreshPolicy()
        self._listener: ExitListener | None = None
        self._current: RunnerProcess | None = None
        self._alive: set[RunnerProcess] = set()
        self._pids: set[int] = set()
        """All runner processes, also those that are still starting; any other process below the agent is a stray."""
        self._births = asyncio.Lock()
        self._starting: dict[UUID, float | None] = {}
        """Tasks on their way to a runner; with a grace period: to be ended as soon as they have arrived."""
        self._ready = asyncio.Event()
        self._changed = asyncio.Event()

    def listen(self, listener: ExitListener) -> None:
        """Set the listener for ends of tasks; called once, before anything else."""
        self._listener = listener

    @property
    def ready(self) -> bool:
        """Whether a task could be started right now."""
        return self._current is not None

    async def prepare(self) -> None:
        """Wait until tasks can be started; `supervise` raises if that will never be."""
        await self._ready.wait()

    async def supervise(self) -> None:
        """Start, watch and replace runner processes until cancelled.

        Raises:
            RunnerBrokenError: the first runner cannot be started.

        """
        backoff = Backoff(first_s=1, longest_s=60)
        failures, worked = 0, False
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reap_orphans(), name="orphans of tasks")
            if self._learned is not None:
                group.create_task(self._watch_packages(), name="installed packages")
            while True:
                try:
                    fresh = await self._start_process()
                except (RunnerStartError, OSError) as error:
                    failures += 1
                    log.error("the runner could not be started: %s", error)  # noqa: TRY400 - the message is enough
                    if not worked and failures >= FIRST_ATTEMPTS:
                        raise RunnerBrokenError(
                            f"the runner cannot be started: {error}; is airflow-edge-worker[airflow] installed?"
                        ) from error
                    if self._current is None:
                        await asyncio.sleep(backoff.next_delay())
                        continue
                else:
                    worked = True
                    backoff.reset()
                    self._switch_to(fresh)
                    group.create_task(self._serve(fresh), name=f"runner {fresh.pid}")
                await self._until_due()

    async def start(self, order: StartOrder) -> None:
        """Start a task in the current runner, waiting for one if there is none right now.

        Raises:
            RunnerBrokenError: no runner could be started in time.

        """
        self._starting[order.lease_id] = None
        try:
            runner = await self._wait_for_runner()
        finally:
            grace_s = self._starting.pop(order.lease_id)
        runner.start(order)
        if grace_s is not None:
            runner.kill(order.lease_id, grace_s)
        self._note_running()

    async def _wait_for_runner(self) -> RunnerProcess:
        deadline = time.monotonic() + 2 * START_TIMEOUT_S
        while self._current is None:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._ready.wait()
            except TimeoutError as error:
                raise RunnerBrokenError("no runner could be started on this worker in time") from error
        return self._current

    def kill(self, lease_id: UUID, grace_s: float) -> None:
        """End a task, whichever runner has it: SIGTERM, and SIGKILL after the grace period."""
        if lease_id in self._starting:
            self._starting[lease_id] = grace_s
        for process in self._alive:
            if lease_id in process.running:
                process.kill(lease_id, grace_s)

    async def end_directly(self, lease_id: UUID, *, supervisor: bool) -> None:
        """Kill what runs below a task's supervisor, and the supervisor too, since their runner has not."""
        for process in self._alive:
            pid = process.running.get(lease_id)
            if pid is not None:
                await asyncio.to_thread(processes.kill_tree if supervisor else processes.kill_below, pid)

    def renew_contact(self) -> None:
        """Report the last contact to all runners, which end tasks when this process can't."""
        for process in self._alive:
            self._pass_contact(process)

    def _pass_contact(self, process: RunnerProcess) -> None:
        if self.contact.at is not None:
            process.renew_contact(self.contact.at)

    def learn(self, modules: set[str]) -> None:
        """Learn which modules a task had to import."""
        if self._learned is None or not modules:
            return
        count = self._learned.add(modules)
        if count:
            log.info("learned %d modules to preload", count)
            self._policy.learned(count, time.monotonic())
            self._changed.set()

    async def close(self) -> None:
        """End all runner processes, and with them all tasks, in bounded time."""
        async with asyncio.TaskGroup() as group:
            for process in self._alive:
                group.create_task(process.close(CLOSE_TIMEOUT_S), name=f"close runner {process.pid}")
        self._alive.clear()
        await asyncio.to_thread(processes.kill_strays, ())

    async def _start_process(self) -> RunnerProcess:
        """Start one runner process; a module that makes it unfit to fork is left out and the start repeated."""
        for _ in range(_BLAME_MAX):
            async with self._births:
                process = await RunnerProcess.spawn(self._command, self._lock_fd, self._environ)
                self._pids.add(process.pid)
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    ready = await process.become_ready(self._learned.preload_list() if self._learned else [])
            except (RunnerStartError, TimeoutError) as error:
                await self._discard(process)
                blamed = error.module if isinstance(error, RunnerStartError) else None
                if self._learned is None or blamed is None:
                    raise RunnerStartError(str(error) or f"not ready after {START_TIMEOUT_S:.0f} s") from error
                self._learned.deny(blamed, str(error))
                await asyncio.to_thread(self._learned.save)
            except BaseException:
                await self._discard(process)
                raise
            else:
                await self._note_ready(process, ready)
                return process
        raise RunnerStartError("too many modules make it unfit to fork")

    async def _discard(self, process: RunnerProcess) -> None:
        await process.close(wait_s=1)
        self._pids.discard(process.pid)

    async def _note_ready(self, process: RunnerProcess, ready: Ready) -> None:
        resident = (ready.resident_bytes or 0) >> 20
        log.info("runner %d is ready: %d modules, %d MB", process.pid, ready.modules, resident)
        for name, reason in ready.skipped.items():
            log.debug("module %s could not be preloaded: %s", name, reason)
        if self._learned is not None:
            with suppress(OSError):
                await asyncio.to_thread(self._learned.save)

    def _switch_to(self, fresh: RunnerProcess) -> None:
        if self._current is not None:
            self._current.retire()
        self._alive.add(fresh)
        self._pass_contact(fresh)
        self._current = fresh
        self._ready.set()

    async def _serve(self, process: RunnerProcess) -> None:
        await process.serve(self._task_ended)
        lost = set(process.running)
        self._alive.discard(process)
        if process is self._current:
            log.error("runner %d died; a new one is started", process.pid)
            self._current = None
            self._ready.clear()
            self._changed.set()
        await process.close(CLOSE_TIMEOUT_S)
        self._pids.discard(process.pid)
        if lost:
            # The kernel has killed the supervisors and tasks with their runner, but not what the tasks had started.
            async with self._births:
                await asyncio.to_thread(processes.kill_strays, frozenset(self._pids))
        for lease_id in lost:
            self._task_ended(TaskExit(lease_id, None, "the runner process died"))

    def _task_ended(self, task_exit: TaskExit) -> None:
        self._note_running()
        if self._listener is not None:
            self._listener(task_exit)

    def _note_running(self) -> None:
        self._policy.tasks_running(sum(len(process.running) for process in self._alive), time.monotonic())
        self._changed.set()

    async def _reap_orphans(self) -> None:
        """Reap what tasks left in the background: after the end of its runner it is this process's child."""
        ended = asyncio.Event()
        on_child_end(asyncio.get_running_loop(), ended.set)
        while True:
            await ended.wait()
            ended.clear()
            # Under the lock, since the runners themselves are waited for elsewhere.
            async with self._births:
                await asyncio.to_thread(processes.reap_orphans, frozenset(self._pids))

    async def _watch_packages(self) -> None:
        """Have the template replaced once packages were installed, upgraded or removed."""
        imported = last = await asyncio.to_thread(installed_packages)
        while True:
            await asyncio.sleep(PACKAGES_LOOK_S)
            installed = await asyncio.to_thread(installed_packages)
            if installed == last and installed != imported:
                log.info("installed packages have changed: a new runner is started")
                imported = installed
                self._policy.packages_changed()
                self._changed.set()
            last = installed

    async def _until_due(self) -> None:
        """Wait until another runner process should be started."""
        while self._current is not None:
            due = self._policy.due_at()
            if due is not None and due <= time.monotonic():
                break
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else due - time.monotonic()):
                    await self._changed.wait()
        self._policy.started(time.monotonic())


def runner_environ(environ: Mapping[str, str], ca_bundle: str | None, outage_tolerance_s: int = 0) -> dict[str, str]:
    """Return the environment of runner processes.

    It is the agent's without its join token, with `ca_bundle` for Airflow, with loopback left out of the proxy, and
    with supervisors that wait for longer than the relay may hold a call. The longest tolerance leaves that far below
    the 24 days that a system's timers can wait.
    """
    kept = {name: value for name, value in environ.items() if name != "EDGE_WORKER_JOIN_TOKEN"}
    # Calls to the relay must not go to the site's proxy. The lower-case name wins where both are set.
    direct = kept.get("no_proxy") or kept.get("NO_PROXY") or ""
    if HOST not in direct.split(","):
        kept["no_proxy"] = kept["NO_PROXY"] = f"{direct},{HOST}".lstrip(",")
    kept.setdefault("AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT", f"{supervisor_timeout_s(outage_tolerance_s):.0f}")
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
        # Detached from the terminal: Ctrl-C reaches only the agent, which then lets tasks finish.
        start_new_session=True,
    )
