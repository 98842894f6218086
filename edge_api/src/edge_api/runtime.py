"""All services of one process: made, wired, run together, and stopped in order."""

import asyncio
import logging
from typing import Final, NoReturn

from edge_api.admin.services import Admin
from edge_api.database.batcher import Batcher
from edge_api.database.hints import Hints
from edge_api.database.pool import Database
from edge_api.dispatch.dispatcher import Dispatcher
from edge_api.fleet.version_policy import VersionPolicy
from edge_api.frames.heartbeat import Heartbeats
from edge_api.frames.log import LogWriter
from edge_api.identity.authenticator import Authenticator
from edge_api.identity.enrolment import Enrolment
from edge_api.identity.refusals import Refusals
from edge_api.identity.rotation import Rotation
from edge_api.metrics import Metrics
from edge_api.sessions.desired import WishReader
from edge_api.sessions.hub import Hub
from edge_api.sessions.registry import Registry
from edge_api.sessions.writers import Writers
from edge_api.settings import ApiSettings
from edge_api.transports.long_poll import SyncSessions
from edge_api.upkeep.health import Health
from edge_api.upkeep.housekeeping import Housekeeping
from edge_api.upkeep.scrape import Scrape
from edge_api.v1.auth import V1Tokens
from edge_api.v1.jobs import V1Jobs
from edge_api.v1.workers import V1Workers

FLUSH_PATIENCE_S: Final = 2.0
"""What was received before a stop is written within this time as a rule; else the workers send it again elsewhere."""

_LOG_BATCH_BYTES: Final = 4 << 20
_ROW_OVERHEAD: Final = 512

log = logging.getLogger(__name__)


class Runtime:
    """The services, and the tasks that run them."""

    def __init__(self, settings: ApiSettings) -> None:
        self.settings = settings
        self.metrics = metrics = Metrics()
        self.database = Database(settings.database_url.get_secret_value(), settings.database_pool_size, metrics)
        self.registry = Registry(settings.max_sessions, metrics)
        self.refusals = Refusals(self.database)
        self.versions = VersionPolicy(self.database, self.registry, settings)
        self.hub = _make_hub(settings, metrics, self.database, self.registry, self.refusals, self.versions)
        self.authenticator = Authenticator(self.database, metrics, self.refusals)
        self.enrolment = Enrolment(self.database, settings)
        self.admin = Admin(self.database, metrics, settings.heartbeat_interval_s, self.refusals)
        self.hints = Hints(self.hub, self.authenticator, self.admin.changes)
        self.housekeeping = Housekeeping(self.database, settings, metrics)
        self.health = Health(self.database, self.hints, self.registry, metrics)
        self.scrape = Scrape(self.database, metrics, settings.heartbeat_interval_s)
        self.sync = SyncSessions(self.hub)
        self.rotation = Rotation(self.database, settings)
        secret = settings.v1_jwt_secret
        self.v1_tokens = V1Tokens(None if secret is None else secret.get_secret_value())
        self.v1_workers = V1Workers(self.database, self.versions, settings)
        self.v1_jobs = V1Jobs(self.hub, self.v1_workers)

    def start(self, group: asyncio.TaskGroup) -> list[asyncio.Task[NoReturn]]:
        """Start all services in a task group; one that fails ends the group."""
        runs = {
            "dispatcher": self.hub.dispatcher.run(),
            "heartbeats": self.hub.heartbeats.run(),
            "hints": self.hints.run(),
            "silent-sessions": self._watch_silence(),
            "changes": self.admin.changes.run(),
            "refusals": self.refusals.run(),
            "versions": self.versions.run(),
            "housekeeping-lock": self.housekeeping.leadership.run(),
            **{duty.name: duty.run() for duty in self.housekeeping.duties},
            **{f"batch-{batcher.name}": batcher.run() for batcher in self.hub.batchers},
        }
        return [group.create_task(run, name=name) for name, run in runs.items()]

    async def drain(self) -> None:
        """Send all workers elsewhere, after what they sent is durable."""
        self.registry.closing = True
        self.admin.changes.close()
        await self._flush()
        for session in self.registry:
            session.end("going_away", "This replica of the edge API stops. Connect again.", close_code=1012)
        await self._flush()

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_PATIENCE_S):
                for batcher in self.hub.batchers:
                    await batcher.drained()
                await self.hub.heartbeats.flush()
                await self.refusals.flush()
        except TimeoutError:
            log.warning("not all that was received could be written; the workers will send it again")

    async def _watch_silence(self) -> NoReturn:
        window_s = self.settings.silence_window.total_seconds()
        while True:
            await asyncio.sleep(min(1.0, self.settings.heartbeat_interval_s))
            self.registry.end_silent(window_s)
            self.registry.end_expired()


def _make_hub(
    settings: ApiSettings,
    metrics: Metrics,
    database: Database,
    registry: Registry,
    refusals: Refusals,
    versions: VersionPolicy,
) -> Hub:
    writers = Writers(database, metrics)
    return Hub(
        settings=settings,
        metrics=metrics,
        database=database,
        registry=registry,
        refusals=refusals,
        versions=versions,
        heartbeats=Heartbeats(database, settings.heartbeat_interval_s, registry.superseded),
        dispatcher=Dispatcher(database, registry, settings, metrics),
        accepts=Batcher("accepts", writers.accepts),
        reports=Batcher("reports", writers.reports),
        logs=Batcher(
            "logs",
            LogWriter(database, metrics).flush,
            most=_LOG_BATCH_BYTES,
            weigh=lambda chunk: len(chunk.data) + _ROW_OVERHEAD,
        ),
        losses=Batcher("losses", writers.losses),
        checks=Batcher("checks", writers.checks, weigh=lambda check: len(check.leases), most=5000),
        wishes=Batcher("wishes", WishReader(database).flush),
    )
