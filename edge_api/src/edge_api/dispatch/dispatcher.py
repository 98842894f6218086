"""Gives queued jobs to waiting workers: one task per process, one transaction per round.

It looks at the queues when a hint says that one has work, when a worker gets room, and at each tick as a safety.
Workers that wait cost nothing meanwhile. A round never waits for a worker: jobs go to outboxes.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NoReturn
from uuid import UUID, uuid4

from edge_api.database.pool import Database
from edge_api.dispatch.assign import Waiter, assign
from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_api.metrics import Metrics
from edge_api.sessions.desired import DesiredUpdates
from edge_api.sessions.registry import Registry
from edge_api.sessions.session import Session
from edge_api.settings import ApiSettings
from edge_protocol.worker_state import MISSED_HEARTBEATS
from edge_store.jobs import claims, leases

BATCH: Final = 256
"""Most jobs of one queue in one round; more follow in the next round at once."""

_BACKOFF_S: Final = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reasons:
    """What has happened since the dispatcher looked last."""

    queues: frozenset[str]
    """Queues that have new work."""
    room: bool
    """A worker can take a job that it could not take before, or there may be work in any queue."""


class Wakeups:
    """Collects reasons, and wakes the dispatcher."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._queues: set[str] = set()
        self._room = False

    def queue_has_work(self, queue: str) -> None:
        """Note that a queue has work."""
        self._queues.add(queue)
        self._woken.set()

    def room_freed(self) -> None:
        """Note that a worker has room, or that there may be work in any queue."""
        self._room = True
        self._woken.set()

    async def wait(self, until: float) -> None:
        """Wait for a reason, at most until a moment of `time.monotonic`."""
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    def take(self) -> Reasons:
        """Return the reasons noted since the last call."""
        reasons = Reasons(frozenset(self._queues), self._room)
        self._queues = set()
        self._room = False
        return reasons


class Dispatcher:
    """Rounds of candidates, assignment and claim."""

    def __init__(
        self,
        database: Database,
        settings: ApiSettings,
        metrics: Metrics,
        registry: Registry,
        desired: DesiredUpdates,
        wakeups: Wakeups,
    ) -> None:
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._registry = registry
        self._desired = desired
        self._wakeups = wakeups
        self._starving: list[claims.QueuedJob] = []
        self._next_tick = 0.0

    async def run(self) -> NoReturn:
        """Dispatch forever."""
        while True:
            await self._wakeups.wait(until=self._next_tick)
            try:
                await self._look()
            except DatabaseAwayError as error:
                log.warning("dispatch waits for the database: %s", error)
                await asyncio.sleep(_BACKOFF_S)
                self._wakeups.room_freed()
            except DatabaseRefusedError:
                log.exception("the database refuses a dispatch round")
                await asyncio.sleep(_BACKOFF_S)

    async def _look(self) -> None:
        tick = time.monotonic() >= self._next_tick
        if tick:
            self._next_tick = time.monotonic() + self._settings.tick_s
            for session in self._registry:
                session.claim_refused = False
        reasons = self._wakeups.take()
        waiters = self._waiters()
        if tick:
            await self._find_starving(waiters)
        demands = make_demands([waiter for waiter in waiters if waiter.free > 0])
        if demands and (tick or reasons.room or any(demand.queue in reasons.queues for demand in demands)):
            await self._round(waiters, demands)

    def _waiters(self) -> list[Waiter]:
        # A worker that has missed a heartbeat is left out: its connection may be dead.
        heard_after = time.monotonic() - (MISSED_HEARTBEATS - 1) * self._settings.heartbeat_interval_s
        return [
            Waiter(
                session_id=session.id,
                worker=session.worker,
                team=session.principal.team,
                queues=session.queues,
                free=session.leases.free,
                concurrency=session.leases.concurrency,
            )
            for session in self._registry
            if session.can_take_jobs(heard_after)
        ]

    async def _find_starving(self, waiters: Sequence[Waiter]) -> None:
        """Look for jobs that are too large for any free room; idle workers have room for all they can hold."""
        tight = [demand for demand in make_demands(waiters) if demand.fits < demand.holds]
        if not tight:
            self._starving = []
            return
        patience = timedelta(seconds=self._settings.starvation_patience_s)
        self._starving = await self._database.rows(claims.starving(tight, patience))

    async def _round(self, waiters: Sequence[Waiter], demands: Sequence[claims.Demand]) -> None:
        sessions = {session.id: session for session in self._registry}
        async with self._database.transaction("dispatch") as transaction:
            candidates = await transaction.rows(claims.candidates(demands))
            if not candidates:
                return
            pairs = assign(waiters, candidates, self._starving)
            if not pairs:
                return
            picks = [
                claims.Pick(job.id, waiter.worker, waiter.session_id, uuid4(), self._tolerance(job.queue))
                for job, waiter in pairs
            ]
            claimed = await transaction.rows(
                claims.claim(picks, self._settings.accept_timeout, self._settings.tolerance_least)
            )
        self._metrics.jobs_dispatched.inc(len(claimed))
        await self._push(sessions, picks, claimed)
        if len(claimed) < len(picks) or len(candidates) >= min(demand.limit for demand in demands):
            self._wakeups.room_freed()

    def _tolerance(self, queue: str) -> int | None:
        """Return the longest outage tolerance of a queue's jobs; without forwarding no task survives a cut."""
        if self._settings.execution_api_url is None:
            return 0
        return self._settings.queue_outage_tolerance_s.get(queue)

    async def _push(
        self, sessions: dict[UUID, Session], picks: Sequence[claims.Pick], claimed: Sequence[claims.ClaimedJob]
    ) -> None:
        session_of = {pick.lease_id: sessions[pick.session_id] for pick in picks}
        undelivered = [row.lease_id for row in claimed if not session_of.pop(row.lease_id).offer(row)]
        # The store refused the rest: those workers may be given no jobs, or others have taken the jobs.
        for session in set(session_of.values()):
            session.claim_refused = True
            self._desired.refresh(session)
        if undelivered:
            # If this fails, the accept timeout puts the jobs back.
            await self._database.rows(leases.release(undelivered))


def make_demands(waiters: Sequence[Waiter]) -> list[claims.Demand]:
    """Return what the workers could take together, by queue and team."""
    room: dict[tuple[str, str | None], list[Waiter]] = defaultdict(list)
    for waiter in waiters:
        for queue in waiter.queues:
            room[queue, waiter.team].append(waiter)
    return [
        claims.Demand(
            queue=queue,
            team=team,
            fits=max(waiter.free for waiter in group),
            holds=max(waiter.concurrency for waiter in group),
            limit=min(BATCH, sum(waiter.free for waiter in group)),
        )
        for (queue, team), group in sorted(room.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    ]
