"""The parts of one process: made, wired, run together, and stopped in order."""

import asyncio
import logging
from typing import Any, Final, NoReturn

from edge_api.admin.app import AdminApi
from edge_api.database.batcher import Batcher
from edge_api.database.pool import Database
from edge_api.dispatch.dispatcher import Dispatcher, Wakeups
from edge_api.execution.forward import ExecutionForwarding
from edge_api.execution.upstream import Upstream
from edge_api.fleet.version_policy import VersionPolicy
from edge_api.frames.accept import AcceptHandler
from edge_api.frames.bye import ByeHandler
from edge_api.frames.heartbeat import HeartbeatHandler
from edge_api.frames.hello import HelloHandler
from edge_api.frames.log import LogHandler
from edge_api.frames.maintenance import MaintenanceHandler
from edge_api.frames.receive import Receiver
from edge_api.frames.report import ReportHandler
from edge_api.held_bytes import HeldBytes
from edge_api.identity.authenticator import Authenticator
from edge_api.identity.enrolment import Enrolment
from edge_api.identity.refusals import Refusals
from edge_api.identity.rotation import Rotation
from edge_api.metrics import Metrics
from edge_api.sessions.desired import DesiredUpdates
from edge_api.sessions.lease_checks import LeaseChecks
from edge_api.sessions.registry import Registry
from edge_api.settings import ApiSettings
from edge_api.transports.long_poll import LongPollTransport
from edge_api.transports.websocket import WebSocketTransport
from edge_api.upkeep.contact import DatabaseContact
from edge_api.upkeep.health import Health
from edge_api.upkeep.hints import Hints
from edge_api.upkeep.housekeeping import Housekeeping
from edge_api.upkeep.log_storage import LogStorage
from edge_api.upkeep.scrape import Scrape
from edge_api.v1.auth import V1Tokens
from edge_api.v1.jobs import V1Jobs
from edge_api.v1.workers import V1Workers

FLUSH_PATIENCE_S: Final = 2.0
"""Enough to write what was received before a stop; whatever is not written the workers send again elsewhere."""

log = logging.getLogger(__name__)


class Runtime:
    """The parts, and the tasks that run them."""

    def __init__(self, settings: ApiSettings) -> None:
        self.settings = settings
        self.metrics = metrics = Metrics()
        self.database = database = Database(
            settings.database_url.get_secret_value(), settings.database_pool_size, metrics
        )
        self.refusals = refusals = Refusals(database)
        authenticator = Authenticator(database, metrics, refusals)

        # Sessions, and what keeps them in step with the database.
        wakeups = Wakeups()
        self.held = held = HeldBytes(settings.held_bytes_max, metrics)
        self.registry = registry = Registry(settings, metrics, held, refusals, wakeups.room_freed)
        self._desired = desired = DesiredUpdates(database)
        self._checks = checks = LeaseChecks(database)
        self._versions = versions = VersionPolicy(database, settings, registry.cordon)
        self._dispatcher = Dispatcher(database, settings, metrics, registry, desired, wakeups)

        # Frames of workers, and how they come in.
        maintenance = MaintenanceHandler(database, desired)
        self._heartbeats = HeartbeatHandler(
            database,
            metrics,
            checks,
            settings.heartbeat_interval_s,
            supersede=registry.supersede,
            acknowledge=registry.acknowledge_heartbeat,
        )
        self._accepts = AcceptHandler(database, metrics, checks)
        self._reports = ReportHandler(database, metrics)
        self._logs = LogHandler(database, metrics, held, settings.log_max_bytes, settings.log_window_bytes)
        receiver = Receiver(
            hello=HelloHandler(database, settings, metrics, registry, refusals, versions, desired, maintenance),
            bye=ByeHandler(database),
            heartbeat=self._heartbeats,
            accept=self._accepts,
            report=self._reports,
            log=self._logs,
            maintenance=maintenance,
        )
        websocket = WebSocketTransport(authenticator, registry, receiver)
        long_poll = LongPollTransport(database, authenticator, registry, receiver, desired, checks)

        # Calls of tasks on their way to Airflow.
        url = settings.execution_api_url
        self._upstream = None if url is None else Upstream(url, settings)
        self._execution = ExecutionForwarding(database, authenticator, refusals, metrics, self._upstream, registry.runs)

        # People and programs; edge3 workers.
        self.admin = AdminApi(database, metrics, settings.heartbeat_interval_s, refusals)
        secret = settings.v1_jwt_secret
        self.v1_tokens = V1Tokens(None if secret is None else secret.get_secret_value())
        self.v1_workers = V1Workers(database, versions, settings)
        self.v1_jobs = V1Jobs(
            database,
            settings,
            metrics,
            refusals,
            self.v1_workers,
            self._accepts.batcher,
            self._reports.batcher,
            self._logs.append,
        )

        self._contact = DatabaseContact(database, registry, metrics, settings)
        self._hints = Hints(database, registry, wakeups, desired, checks, authenticator, self.admin.changes)
        self._housekeeping = Housekeeping(database, settings, metrics)
        self._log_storage = LogStorage(database, metrics)
        enrolment = Enrolment(database, settings, authenticator, refusals)
        rotation = Rotation(database, settings, authenticator)
        self.routers = tuple(part.router for part in (enrolment, rotation, websocket, long_poll, self._execution))
        health = Health(self._contact, self._hints, registry)
        self.probes = (health.router, Scrape(database, metrics, settings.heartbeat_interval_s).router)

    @property
    def _batchers(self) -> tuple[Batcher[Any, Any], ...]:
        """All batchers, in the order in which they are emptied at the end."""
        return (
            self._logs.batcher,
            self._accepts.batcher,
            self._reports.batcher,
            self._heartbeats.losses,
            self._checks.batcher,
            self._desired.batcher,
            self._execution.calls,
            self._execution.renewals,
        )

    def start(self, group: asyncio.TaskGroup) -> list[asyncio.Task[NoReturn]]:
        """Start all services in a task group; one that fails ends the group."""
        runs = {
            "dispatcher": self._dispatcher.run(),
            "heartbeats": self._heartbeats.run(),
            "log-room": self._logs.run(),
            "hints": self._hints.run(),
            "database-canary": self._contact.run(),
            "database-contact": self._contact.watch(),
            "silent-sessions": self.registry.watch_silence(),
            "changes": self.admin.changes.run(),
            "refusals": self.refusals.run(),
            "versions": self._versions.run(),
            "log-storage": self._log_storage.run(),
            "housekeeping-lock": self._housekeeping.leadership.run(),
            **{duty.name: duty.run() for duty in self._housekeeping.duties},
            **{f"batch-{batcher.name}": batcher.run() for batcher in self._batchers},
        }
        return [group.create_task(run, name=name) for name, run in runs.items()]

    async def close(self) -> None:
        """Close all connections to the database and to Airflow."""
        if self._upstream is not None:
            await self._upstream.close()
        await self.database.close()

    async def drain(self) -> None:
        """Send all workers elsewhere, after everything they sent is durable."""
        self.registry.closing = True
        self.admin.changes.close()
        await self._flush()
        for session in self.registry:
            session.end("going_away", "This replica of the edge API stops. Connect again.", close_code=1012)
        await self._flush()

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_PATIENCE_S):
                for batcher in self._batchers:
                    await batcher.drained()
                await self._heartbeats.flush()
                await self.refusals.flush()
        except TimeoutError:
            log.warning("not everything received could be written; the workers will send it again")
