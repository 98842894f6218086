"""The agent: what ties leases, logs, runner and connection together.

Decisions are elsewhere (`leases`, `drain`, `outcome`, `logs.cursor`) and pure; here they are carried out, in supervised
tasks of one event loop. One that fails ends the agent, since a worker that half works is worse than one that restarts.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Iterable, Sequence
from uuid import uuid4

import aiohttp

from edge_protocol.frames import (
    Accept,
    Ack,
    Cancel,
    DesiredFrame,
    Fenced,
    Heartbeat,
    Hello,
    Job,
    Log,
    Maintained,
    Maintenance,
    Report,
    ServerFrame,
    Versions,
    Welcome,
)
from edge_worker.connection import Connection
from edge_worker.control.server import ControlServer
from edge_worker.drain import Drain, Step
from edge_worker.health import HealthCheck
from edge_worker.launcher.base import Launcher, RunnerBrokenError, StartOrder, TaskExit
from edge_worker.leases import Action, Kill, Lease, Leases, Phase, Start, Tidy
from edge_worker.local import LocalControl
from edge_worker.logs.shipper import LogShipper
from edge_worker.outcome import DRAIN_TIMEOUT
from edge_worker.rotation import CredentialRotation
from edge_worker.settings import WorkerSettings
from edge_worker.settle import settle, settle_left_over
from edge_worker.spool import Spool
from edge_worker.sysinfo import SystemMonitor
from edge_worker.transport.choice import TransportChoice
from edge_worker.upkeep import Upkeep

log = logging.getLogger(__name__)

LOG_POLL_S = 0.2
"""Seconds between looks at the logs of running tasks."""
_DRAIN_LOOK_S = 0.5
_GOODBYE_S = 5.0
_HEALTH_S = 10.0
"""Seconds between health checks while no session says how often."""


class Agent:
    """One worker."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        api_url: str,
        client: aiohttp.ClientSession,
        launcher: Launcher,
        versions: Versions,
        rotation: CredentialRotation,
        health: HealthCheck | None,
    ) -> None:
        self.wake = asyncio.Event()
        self._settings = settings
        self._launcher = launcher
        self._versions = versions
        self._rotation = rotation
        self._instance = uuid4()
        self._leases = Leases(settings.concurrency)
        self._spool = Spool(settings.state_folder / "leases")
        self._shipper = LogShipper(settings.spool_max_bytes)
        self._system = SystemMonitor(settings.state_folder)
        self._drain = Drain(settings.drain_timeout_s, settings.kill_grace_s, settings.flush_timeout_s)
        self._drain_changed = asyncio.Event()
        self._log_watch = asyncio.Event()
        self._upkeep = Upkeep(settings.state_folder / "maintenance.json", health, self._on_upkeep)
        self._welcome: Welcome | None = None
        choice = TransportChoice(settings.transport)
        self._connection = Connection(client, api_url, choice, self, busy=lambda: self._leases.active > 0)
        local = LocalControl(
            settings, self._leases, self._drain, self._upkeep, self._connection, rotation, api_url, self.request_stop
        )
        self._control = ControlServer(settings.state_folder, local)
        self._group = asyncio.TaskGroup()
        launcher.listen(self._on_exit)

    async def run(self) -> None:
        """Work until a stop was asked for and is done.

        Raises:
            WorkerError: the worker cannot go on; the message says what mends it.

        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_stop, f"signal {number.name}")
        try:
            async with self._group:
                await self._upkeep.load()
                side = [
                    self._group.create_task(self._control.serve(), name="local control"),
                    self._group.create_task(self._upkeep.watch_health(self._health_interval), name="health check"),
                    self._group.create_task(self._launcher.supervise(), name="runner supervision"),
                    self._group.create_task(self._watch_logs(), name="log watch"),
                    self._group.create_task(self._rotation.keep_fresh(), name="credential rotation"),
                    self._group.create_task(self._connect(), name="connection"),
                ]
                await self._recover()
                await self._stop_when_asked()
                await self._say_goodbye(side.pop())
                for task in side:
                    task.cancel()
        except* Exception as group:  # noqa: BLE001 - unpacked, not swallowed
            raise _first(group) from None
        finally:
            await self._launcher.close()

    def request_stop(self, why: str) -> None:
        """Drain and stop; a repeat skips the wait of the present step."""
        log.info("stopping (%s): step %s, %d tasks", why, self._drain.step.name.lower(), self._leases.active)
        self._drain.request(time.monotonic())
        self._leases.taking_jobs = False
        self._drain_changed.set()
        self._connection.beat_now()

    # What the session asks for.

    def hello(self) -> Hello:
        """Introduce this worker."""
        wish = self._upkeep.own.host_wish
        return Hello(
            worker=self._settings.name,
            instance=self._instance,
            versions=self._versions,
            queues=self._settings.queues,
            concurrency=self._settings.concurrency,
            held=self._leases.held,
            # In the hello already, so that no job comes before the wish itself, which follows as a frame.
            maintenance=wish is not None and wish.on,
            maintenance_comment=wish.comment if wish is not None and wish.on else None,
        )

    def heartbeat(self) -> Heartbeat:
        """Tell how this worker is."""
        desired = self._upkeep.own.desired
        return Heartbeat(
            free_slots=self._leases.free_slots,
            jobs_active=self._leases.active,
            held=self._leases.held,
            desired_version=desired.version if desired is not None else 0,
            maintenance_acknowledged=self._upkeep.own.acknowledged,
            terminating=self._drain.asked,
            sysinfo=self._system.read(),
        )

    def take_control(self) -> Sequence[Accept | Report | Maintenance]:
        """Return the control frames to send."""
        frames = [*self._upkeep.own.outbox, *self._leases.outbox]
        self._upkeep.own.outbox.clear()
        self._leases.outbox.clear()
        return frames

    async def next_log(self, welcome: Welcome) -> Log | None:
        """Return the next piece of log to send."""
        return await self._shipper.next_frame(welcome.log_chunk_bytes, welcome.log_window_bytes)

    def on_welcome(self, welcome: Welcome) -> None:
        """Say again what was not acknowledged."""
        self._welcome = welcome
        log.info("connected: session %s, %d leases held", welcome.session_id, len(self._leases.held))
        self._upkeep.own.on_session()
        self._leases.on_session()

    def on_frame(self, frame: ServerFrame) -> None:
        """Act on a frame."""
        match frame:
            case Job():
                self._carry_out(self._leases.on_job(frame))
            case Ack(of="accept"):
                self._carry_out(self._leases.on_accept_ack(frame.lease_id))
            case Ack(of="report"):
                self._carry_out(self._leases.on_report_ack(frame.lease_id))
            case Ack(of="log"):
                if frame.offset is not None:
                    self._shipper.on_ack(frame.lease_id, frame.offset)
                self._carry_out(self._leases.on_log_ack(frame.lease_id))
            case Fenced():
                self._shipper.on_refused(frame.lease_id)
                self._carry_out(self._leases.on_fenced(frame.lease_id, frame.reason))
            case Cancel():
                self._carry_out(self._leases.on_cancel(frame.lease_id, frame.reason))
            case DesiredFrame():
                self._on_desired(frame)
            case Maintained() if self._upkeep.on_confirmed(frame):
                self._spawn(self._upkeep.forget(), "forget wish")
                self._on_upkeep()

    def _on_desired(self, desired: DesiredFrame) -> None:
        if not self._upkeep.on_desired(desired):
            return
        self._leases.concurrency = desired.concurrency
        self._on_upkeep()
        if desired.shutdown and not self._drain.asked:
            self.request_stop("the platform asked for it")

    def _on_upkeep(self) -> None:
        """Follow a change of maintenance, and tell it at once."""
        self._leases.taking_jobs = not (self._upkeep.own.cordoned or self._drain.asked)
        self._connection.beat_now()

    def _health_interval(self) -> float:
        return self._welcome.heartbeat_interval_s if self._welcome is not None else _HEALTH_S

    def _on_lost(self) -> None:
        self._welcome = None
        self._shipper.on_disconnect()
        self._drain_changed.set()

    # What the leases ask for.

    def _carry_out(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Start(lease, workload):
                    self._spawn(self._start(lease, workload), f"start {lease.id}")
                case Kill(lease):
                    log.info("ending task of lease %s: %s", lease.id, lease.kill_reason)
                    self._launcher.kill(lease.id, self._settings.kill_grace_s)
                case Tidy(lease, drop_log):
                    if drop_log:
                        log.warning("the edge API does not take the log of lease %s any more: dropped", lease.id)
                        self._shipper.discard(lease.id)
                    self._tidy(lease)
        self.wake.set()

    def _tidy(self, lease: Lease) -> None:
        if lease.phase is Phase.SETTLED and self._shipper.delivered(lease.id):
            self._shipper.discard(lease.id)
            self._leases.forget(lease)
            self._drain_changed.set()
            self._spawn(asyncio.to_thread(self._spool.folder(lease.id).remove), f"tidy {lease.id}")

    async def _start(self, lease: Lease, workload: str) -> None:
        folder = self._spool.folder(lease.id)
        log_file = folder.log_file(lease.job.log_path)
        try:
            await asyncio.to_thread(folder.create, lease.job)
            self._shipper.add(lease.id, folder, log_file, folder.read_cursor())
            self._log_watch.set()
            if lease.kill_reason is not None:
                # Fenced or cancelled in the meantime.
                await self._end(lease, TaskExit(lease.id, None))
                return
            server = self._settings.execution_api_url or (self._welcome.execution_api_url if self._welcome else None)
            await self._launcher.start(StartOrder(lease.id, folder.root, workload, log_file, server))
            log.info("started %s %s, lease %s", lease.job.kind, lease.job.job_id, lease.id)
        except (OSError, RunnerBrokenError) as error:
            log.exception("task of lease %s could not be started", lease.id)
            await self._end(lease, TaskExit(lease.id, None, f"the task could not be started: {error}"))

    def _on_exit(self, task_exit: TaskExit) -> None:
        lease = self._leases.get(task_exit.lease_id)
        if lease is not None and lease.phase is Phase.RUNNING:
            self._spawn(self._end(lease, task_exit), f"end {lease.id}")

    async def _end(self, lease: Lease, task_exit: TaskExit) -> None:
        """Settle how a task ended, durably, and report it."""
        folder = self._spool.folder(lease.id)
        outcome, modules = await asyncio.to_thread(settle, folder, lease, task_exit)
        log.info("ended %s %s, lease %s: %s", lease.job.kind, lease.job.job_id, lease.id, outcome.outcome)
        self._carry_out(self._leases.on_ended(lease, outcome))
        await self._shipper.end(lease.id)
        self._tidy(lease)
        self._drain_changed.set()
        self.wake.set()
        self._launcher.learn(modules)

    async def _recover(self) -> None:
        """Take over what a former agent left behind: its tasks are gone, reports and logs may be due."""
        for job, folder in await asyncio.to_thread(self._spool.recover):
            outcome = await asyncio.to_thread(settle_left_over, folder, job.log_path)
            self._leases.restore(job, outcome)
            self._shipper.add(job.lease_id, folder, folder.log_file(job.log_path), folder.read_cursor())
            await self._shipper.end(job.lease_id)
            log.info("left over from a former start: lease %s, %s", job.lease_id, outcome.outcome)
        self._log_watch.set()

    # Long-running tasks.

    async def _connect(self) -> None:
        await self._launcher.prepare()
        await self._connection.keep(self._on_lost)

    async def _watch_logs(self) -> None:
        while True:
            if not self._shipper.active:
                self._log_watch.clear()
                await self._log_watch.wait()
            if await self._shipper.poll():
                self.wake.set()
            await asyncio.sleep(LOG_POLL_S)

    async def _stop_when_asked(self) -> None:
        """Return when a stop was asked for and everything is done that can be."""
        stopped_tasks = False
        while True:
            step = self._drain.advance(time.monotonic(), tasks=self._tasks(), undelivered=len(self._leases) > 0)
            if step is Step.DONE:
                return
            if step is Step.STOPPING and not stopped_tasks:
                stopped_tasks = True
                for lease in self._leases.in_phase(Phase.RUNNING):
                    self._carry_out(self._leases.kill(lease, DRAIN_TIMEOUT))
            self._drain_changed.clear()
            try:
                async with asyncio.timeout(_DRAIN_LOOK_S if self._drain.asked else None):
                    await self._drain_changed.wait()
            except TimeoutError:
                continue

    def _tasks(self) -> int:
        """Return the tasks that a stop waits for. An offer that nobody can confirm will not become one."""
        waiting = self._leases.in_phase(Phase.OFFERED) if self._welcome is not None else []
        return len(self._leases.in_phase(Phase.RUNNING)) + len(waiting)

    async def _say_goodbye(self, connection: asyncio.Task[None]) -> None:
        self._connection.finish(bye=not self._leases.held)
        if self._leases.held or len(self._leases):
            log.warning("not delivered, kept for the next start: %d leases", len(self._leases))
        if self._connection.session is not None:
            await asyncio.wait({connection}, timeout=_GOODBYE_S)
        connection.cancel()

    def _spawn(self, work: Awaitable[object], name: str) -> None:
        self._group.create_task(_run(work), name=name)


async def _run(work: Awaitable[object]) -> None:
    await work


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, Exception):
        raise group
    return error
