"""The agent: what ties leases, logs, runner and connection together.

Decisions are elsewhere (`leases`, `drain`, `outcome`, `logs.cursor`) and pure; here they are carried out, in supervised
tasks of one event loop. One that fails ends the agent, since a worker that half works is worse than one that restarts.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Sequence
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
from edge_worker.connection.choice import TransportChoice
from edge_worker.connection.credential import CredentialRotation
from edge_worker.connection.reconnect import Connection
from edge_worker.host.control.server import ControlServer
from edge_worker.host.signals import on_stop
from edge_worker.host.system_info import SystemMonitor
from edge_worker.maintenance.drain import Drain, Step
from edge_worker.maintenance.health import HealthCheck
from edge_worker.maintenance.upkeep import Upkeep
from edge_worker.presence import LocalControl
from edge_worker.settings import WorkerSettings
from edge_worker.tasks.launcher import Launcher
from edge_worker.tasks.leases import Leases, Phase
from edge_worker.tasks.outcome import DRAIN_TIMEOUT
from edge_worker.tasks.work import Work

log = logging.getLogger(__name__)

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
        self._system = SystemMonitor(settings.state_folder)
        self._drain = Drain(settings.drain_timeout_s, settings.kill_grace_s, settings.flush_timeout_s)
        self._drain_changed = asyncio.Event()
        self._upkeep = Upkeep(settings.state_folder / "maintenance.json", health, self._on_upkeep)
        self._welcome: Welcome | None = None
        self._initialised = False
        """Tasks can be started. Until then the platform sees a worker that is starting, and gives it none."""
        choice = TransportChoice(settings.transport)
        self._connection = Connection(client, api_url, choice, self, busy=lambda: self._leases.active > 0)
        local = LocalControl(
            settings,
            self._leases,
            self._drain,
            self._upkeep,
            self._connection,
            rotation,
            api_url,
            self.request_stop,
            initialised=lambda: self._initialised,
        )
        self._control = ControlServer(settings.state_folder, local)
        self._signalled = False
        self._group = asyncio.TaskGroup()
        self._work = Work(settings, self._leases, launcher, self._spawn, wake=self.wake, changed=self._drain_changed)

    async def run(self) -> None:
        """Work until a stop was asked for and is done.

        Raises:
            WorkerError: the worker cannot go on; the message says what mends it.

        """
        loop = asyncio.get_running_loop()
        on_stop(loop, self._on_signal)
        try:
            async with self._group:
                await self._upkeep.load()
                side = [
                    self._group.create_task(self._control.serve(), name="local control"),
                    self._group.create_task(self._upkeep.watch_health(self._health_interval), name="health check"),
                    self._group.create_task(self._launcher.supervise(), name="runner supervision"),
                    self._group.create_task(self._work.watch_logs(), name="log watch"),
                    self._group.create_task(self._rotation.keep_fresh(), name="credential rotation"),
                    self._group.create_task(self._initialise(), name="initialisation"),
                    self._group.create_task(self._connection.keep(self._on_lost), name="connection"),
                ]
                await self._work.recover()
                await self._stop_when_asked()
                await self._say_goodbye(side.pop())
                for task in side:
                    task.cancel()
        except ExceptionGroup as group:
            # Not by `except*`: what that raises is a group again before Python 3.11.4, which Debian 12 does not have.
            raise _first(group) from None
        finally:
            await self._launcher.close()

    def _on_signal(self, number: signal.Signals) -> None:
        """Drain and stop; a second signal skips the wait.

        The first does not, even if a stop was asked for before by other means: Kubernetes sends one to a worker that it
        stops after a remote shutdown.
        """
        first, self._signalled = not self._signalled, True
        if not (first and self._drain.asked):
            self.request_stop(f"signal {number.name}")

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
            initialised=self._initialised,
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
            initialised=self._initialised,
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
        return await self._work.shipper.next_frame(welcome.log_chunk_bytes, welcome.log_window_bytes)

    def on_welcome(self, welcome: Welcome) -> None:
        """Say again what was not acknowledged."""
        self._welcome = welcome
        self._work.execution_api_url = self._settings.execution_api_url or welcome.execution_api_url
        log.info("connected: session %s, %d leases held", welcome.session_id, len(self._leases.held))
        self._upkeep.own.on_session()
        self._leases.on_session()

    def on_frame(self, frame: ServerFrame) -> None:
        """Act on a frame."""
        match frame:
            case Job():
                self._work.carry_out(self._leases.on_job(frame))
            case Ack(of="accept"):
                self._work.carry_out(self._leases.on_accept_ack(frame.lease_id))
            case Ack(of="report"):
                self._work.carry_out(self._leases.on_report_ack(frame.lease_id))
            case Ack(of="log"):
                if frame.offset is not None:
                    self._work.shipper.on_ack(frame.lease_id, frame.offset)
                self._work.carry_out(self._leases.on_log_ack(frame.lease_id))
            case Fenced():
                self._work.shipper.on_refused(frame.lease_id)
                self._work.carry_out(self._leases.on_fenced(frame.lease_id, frame.reason))
            case Cancel():
                self._work.carry_out(self._leases.on_cancel(frame.lease_id, frame.reason))
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
        self._work.shipper.on_disconnect()
        self._drain_changed.set()

    # Long-running tasks.

    async def _initialise(self) -> None:
        await self._launcher.prepare()
        self._initialised = True
        self._connection.beat_now()

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
                    self._work.carry_out(self._leases.kill(lease, DRAIN_TIMEOUT))
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


def _first(group: ExceptionGroup[Exception]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
