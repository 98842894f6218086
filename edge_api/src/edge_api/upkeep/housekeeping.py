"""Duties that one replica at a time performs, each a small service that signals each pass.

The advisory lock only saves work: every statement here is safe if two replicas run it at once, as they may for a moment
after a replica has lost its connection.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, NoReturn

from edge_api.database.pool import STATEMENT_TIMEOUT_S, Database
from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_api.metrics import Metrics
from edge_api.settings import ApiSettings
from edge_api.upkeep.grace import Grace
from edge_store import outages, retention
from edge_store.database import locks
from edge_store.database.statement import Statement, read
from edge_store.jobs import leases
from edge_store.workers import agents, changes

LOCK_PERIOD_S: Final = 1.0
FAST_PERIOD_S: Final = 1.0
RETENTION_PERIOD_S: Final = 3600.0
EVENTS_KEPT: Final = timedelta(days=30)
SAMPLES_KEPT: Final = timedelta(hours=2)
TOMBSTONES_KEPT: Final = timedelta(days=1)
"""A follower of the change stream that was away for longer gets the whole fleet again."""

log = logging.getLogger(__name__)


class PassSignal:
    """Counts the passes of a duty, and lets others wait for one."""

    def __init__(self) -> None:
        self.passes = 0
        self._changed = asyncio.Condition()

    async def done(self) -> None:
        """Note a pass."""
        async with self._changed:
            self.passes += 1
            self._changed.notify_all()

    async def next(self) -> None:
        """Wait for a pass that begins after this call."""
        # The pass that is under way now may have looked already.
        target = self.passes + 2
        async with self._changed:
            await self._changed.wait_for(lambda: self.passes >= target)


class Leadership:
    """Holds the housekeeping lock while it can."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.held = asyncio.Event()

    async def run(self) -> NoReturn:
        """Try to take the lock forever, and watch the connection that holds it."""
        while True:
            lock = locks.try_lock(locks.HOUSEKEEPING)
            try:
                async with self._database.own_connection() as connection:
                    while True:
                        # A lock that this connection holds is granted again, so this also keeps the connection alive.
                        async with asyncio.timeout(STATEMENT_TIMEOUT_S):
                            result = await connection.execute(lock.executable)
                            if read(result, lock)[0].held:
                                self.held.set()
                        await asyncio.sleep(LOCK_PERIOD_S)
            except DatabaseAwayError as error:
                log.warning("housekeeping waits for the database: %s", error)
            finally:
                self.held.clear()
            await asyncio.sleep(LOCK_PERIOD_S)


class Duty:
    """Runs one duty every `period_s` seconds while this replica holds the lock and the duty's grace allows it."""

    def __init__(
        self,
        name: str,
        act: Callable[[], Awaitable[None]],
        period_s: float,
        leadership: Leadership,
        database: Database,
        metrics: Metrics,
        grace: Grace | None = None,
    ) -> None:
        self.name = name
        self.signal = PassSignal()
        self._act = act
        self._period_s = period_s
        self._leadership = leadership
        self._database = database
        self._metrics = metrics
        self._grace = grace

    async def run(self) -> NoReturn:
        """Perform the duty forever."""
        while True:
            await self._leadership.held.wait()
            try:
                if self._may_act():
                    await self._act()
            except DatabaseAwayError as error:
                log.warning("%s waits for the database: %s", self.name, error)
            except DatabaseRefusedError:
                log.exception("the database refuses: %s", self.name)
            self._metrics.passes.labels(self.name).inc()
            await self.signal.done()
            await asyncio.sleep(self._period_s)

    def _may_act(self) -> bool:
        if self._grace is None:
            return True
        if self._database.last_failure is not None:
            self._grace.interrupted(self._database.last_failure)
        return self._grace.trusts_expiry(time.monotonic())


class Housekeeping:
    """All duties."""

    def __init__(self, database: Database, settings: ApiSettings, metrics: Metrics) -> None:
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self.leadership = Leadership(database)
        window_s, stall_s = settings.silence_window.total_seconds(), settings.stall.total_seconds()
        fast = min(FAST_PERIOD_S, settings.heartbeat_interval_s)
        common = (self.leadership, database, metrics)
        # A late accept still counts until another worker has the job, so the rescue also waits after an outage.
        rescue_grace = Grace(settings.accept_timeout_s, stall_s)
        self.rescue = Duty("lease-rescue", self._rescue, fast, *common, rescue_grace)
        self.liveness = Duty("liveness", self._lose_silent, fast, *common, Grace(window_s, stall_s))
        self.retention = Duty("retention", self._purge, RETENTION_PERIOD_S, *common)

    @property
    def duties(self) -> tuple[Duty, ...]:
        """Everything that runs besides the leadership."""
        return (self.rescue, self.liveness, self.retention)

    async def _rescue(self) -> None:
        rows = await self._database.rows(leases.requeue_expired())
        if rows:
            self._metrics.lease_rescues.inc(len(rows))
            log.warning("jobs put back that no worker accepted in time", extra={"jobs": len(rows)})

    async def _lose_silent(self) -> None:
        """Declare silent workers unknown, and give up the jobs that are kept for them no longer."""
        for row in await self._database.rows(agents.lose_silent(self._settings.silence_window, self._settings.stall)):
            self._metrics.workers_lost.inc()
            self._metrics.jobs_finished.labels("lost").inc(row.jobs)
            log.warning("a silent worker is unknown from now on", extra={"worker": row.name, "jobs_lost": row.jobs})
        overdue = outages.give_up_overdue(self._settings.silence_window, self._settings.stall)
        for given_up in await self._database.rows(overdue):
            self._metrics.jobs_finished.labels("lost").inc(given_up.jobs)
            log.warning(
                "a worker is out of contact for longer than its jobs are kept",
                extra={"worker": given_up.worker_name, "jobs_lost": given_up.jobs},
            )

    async def _purge(self) -> None:
        """Delete what is old. One kind of rows that can't be deleted must not keep the others."""
        settings = self._settings
        audit_retention = timedelta(seconds=settings.audit_retention_s)
        for purge in (
            retention.finished_jobs(settings.job_retention),
            retention.orphaned_jobs(timedelta(seconds=settings.queued_retention_s)),
            retention.leases(settings.log_retention),
            retention.audit_entries(audit_retention),
            retention.worker_events(EVENTS_KEPT),
            retention.worker_samples(SAMPLES_KEPT),
            retention.join_tokens(audit_retention),
            retention.credentials(audit_retention),
        ):
            try:
                await self._purge_in_batches(purge)
            except (DatabaseAwayError, DatabaseRefusedError):
                log.exception("%s failed; the next pass tries again", purge.name)
        await self._database.run(changes.purge_tombstones(TOMBSTONES_KEPT))

    async def _purge_in_batches(self, purge: Statement[retention.Deleted]) -> None:
        while self.leadership.held.is_set():
            [batch] = await self._database.rows(purge)
            if not batch.deleted:
                return
