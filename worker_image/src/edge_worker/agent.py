"""The agent: assembles one worker from its settings and supervises its tasks on one event loop.

What happens is in the parts: `connection.reconnect` and `connection.session` (a reconnect), `tasks.work` (a job),
`logs.shipper` (a log), `maintenance.maintenance` and `maintenance.drain` (maintenance, a stop). If one supervised task
fails the agent ends, since a restart is better than a worker that works only in part.
"""

import asyncio
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import aiohttp

from edge_protocol.frames import Versions
from edge_worker import __version__
from edge_worker.connection.credential import CredentialRotation, StoredCredential
from edge_worker.connection.http import client_session
from edge_worker.connection.reconnect import Connection, TransportChoice
from edge_worker.connection.session import Peer
from edge_worker.errors import RunnerBrokenError
from edge_worker.host import processes
from edge_worker.host.control.server import ControlServer
from edge_worker.host.signals import on_stop
from edge_worker.host.state import StateFolder, StateLocks
from edge_worker.maintenance.drain import Drain, GracefulStop
from edge_worker.maintenance.health import HealthCheck, load_health_check
from edge_worker.maintenance.host_health import DiskFloor, HostHealth
from edge_worker.maintenance.maintenance import MaintenanceControl
from edge_worker.presence import Presence
from edge_worker.relay.relay import Relay
from edge_worker.settings import WorkerSettings
from edge_worker.tasks.fencing import Fencing
from edge_worker.tasks.learned import LearnedModules
from edge_worker.tasks.leases import Leases
from edge_worker.tasks.runners import RunnerPool, runner_command, runner_environ
from edge_worker.tasks.spool import Spool
from edge_worker.tasks.work import Work


async def run_agent(settings: WorkerSettings, state: StateFolder, credential: StoredCredential) -> None:
    """Run a worker until it is stopped.

    Raises:
        WorkerError: it cannot go on.

    """
    health = load_health_check(settings.health_check, settings.health_timeout_s) if settings.health_check else None
    locks = StateLocks.acquire(state)
    try:
        processes.adopt_orphans()
        api_url = settings.api_url or credential.api_url
        async with client_session(settings, api_url, credential.credential) as client:
            rotation = CredentialRotation(client, state, credential, api_url)
            runners = runner_pool(settings, state, locks)
            relay = Relay(client, api_url)
            await Agent(settings, state, api_url, client, runners, relay, rotation, health).run()
    finally:
        locks.close()


def runner_pool(settings: WorkerSettings, state: StateFolder, locks: StateLocks) -> RunnerPool:
    """Return the pool that starts tasks: as forks of a warm process, or in fresh interpreters.

    Raises:
        RunnerBrokenError: this system can't run tasks.

    """
    if sys.platform == "win32":
        raise RunnerBrokenError(
            "Airflow's task supervisor forks, which Windows can't; run the worker in WSL 2, see docs/windows.md"
        )
    return RunnerPool(
        runner_command("template" if settings.fork else "fresh"),
        lock_fd=locks.tasks.fileno(),
        environ=runner_environ(
            os.environ, str(settings.ca_bundle) if settings.ca_bundle else None, settings.announced_tolerance_s
        ),
        learned=LearnedModules(state.learned) if settings.fork else None,
    )


class Agent:
    """One worker: its parts, and the tasks that keep them going."""

    def __init__(
        self,
        settings: WorkerSettings,
        state: StateFolder,
        api_url: str,
        client: aiohttp.ClientSession,
        runners: RunnerPool,
        relay: Relay,
        rotation: CredentialRotation,
        health: HealthCheck | None,
    ) -> None:
        self._runners = runners
        self._relay = relay
        self._rotation = rotation
        self._group = asyncio.TaskGroup()
        leases, spool, contact = Leases(settings.concurrency), Spool(state.leases), runners.contact
        self._connection = Connection(client, api_url, TransportChoice(settings.transport))
        self._work = Work(settings, spool, leases, runners, self._connection, relay, contact, self._group)
        self._fencing = Fencing(contact, leases, runners, self._work)
        drain = Drain(settings.drain_timeout_s, settings.kill_grace_s, settings.flush_timeout_s)
        self._stop = GracefulStop(drain, leases, self._work, self._connection)
        disk = DiskFloor(state.root, settings.disk_min_free_bytes)
        host_health = HostHealth(disk, leases.starts, spool, runners, health)
        self._maintenance = MaintenanceControl(
            state.maintenance, host_health, leases, self._connection, self._stop, self._group
        )
        presence = Presence(
            settings,
            api_url,
            installed_versions(),
            leases=leases,
            work=self._work,
            fencing=self._fencing,
            maintenance=self._maintenance,
            stop=self._stop,
            connection=self._connection,
            rotation=rotation,
        )
        self._control = ControlServer(state.root, presence)
        self._peer = Peer(
            hello=presence.hello,
            heartbeat=presence.heartbeat,
            next_log=self._work.shipper.next_frame,
            busy=lambda: leases.active > 0,
            participants=(self._maintenance, self._fencing, self._work),
        )

    async def run(self) -> None:
        """Run until a stop was requested and is done.

        Raises:
            WorkerError: the worker cannot go on; the message says how to fix it.

        """
        on_stop(asyncio.get_running_loop(), self._stop.on_signal)
        try:
            async with self._group as group:
                await self._maintenance.load()
                side = [
                    group.create_task(self._control.serve(), name="local control"),
                    group.create_task(self._relay.serve(), name="relay"),
                    group.create_task(self._maintenance.watch_health(), name="health check"),
                    group.create_task(self._runners.supervise(), name="runner supervision"),
                    group.create_task(self._work.initialise(), name="initialisation"),
                    group.create_task(self._work.watch_logs(), name="log watch"),
                    group.create_task(self._fencing.watch(), name="fencing"),
                    group.create_task(self._rotation.keep_fresh(), name="credential rotation"),
                ]
                # Before the connection, since `hello` lists the leases held.
                await self._work.recover()
                connection = group.create_task(self._connection.keep(self._peer), name="connection")
                await self._stop.wait()
                await self._stop.disconnect(connection)
                for task in side:
                    task.cancel()
        except ExceptionGroup as failed:
            # Not by `except*`: what that raises is a group again before Python 3.11.4, which Debian 12 does not have.
            raise _first(failed) from None
        finally:
            await self._runners.close()


def installed_versions() -> Versions:
    """Return the versions of the worker, Airflow and Python on this host."""
    try:
        airflow = version("apache-airflow-core")
    except PackageNotFoundError:
        airflow = None
    return Versions(
        worker=__version__,
        airflow=airflow,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
    )


def _first(group: ExceptionGroup[Exception]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
