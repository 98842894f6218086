"""Gives queued jobs to waiting workers: one task per process, one transaction per round.

It looks at the queues when a hint says that one has work, when a worker gets room, and each tick as a safety. Workers
that wait cost nothing meanwhile. A round never waits for a worker: jobs go to outboxes.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import UUID, uuid4

from sqlalchemy import Row

from edge_api.database.pool import Database
from edge_api.dispatch.assign import Candidate, Waiter, Wanted, assign
from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_api.metrics import Metrics
from edge_api.sessions.registry import Registry
from edge_api.settings import ApiSettings
from edge_protocol.worker_state import MISSED_HEARTBEATS
from edge_store.jobs import claims, leases

if TYPE_CHECKING:
    from edge_api.sessions.session import Session

BATCH: Final = 256
"""Most jobs of one queue in one round; more follow in the next round at once."""

_BACKOFF_S: Final = 0.5

log = logging.getLogger(__name__)


class Dispatcher:
    """Rounds of candidates, assignment and claim."""

    def __init__(self, database: Database, registry: Registry, settings: ApiSettings, metrics: Metrics) -> None:
        self._database = database
        self._registry = registry
        self._settings = settings
        self._metrics = metrics
        self._woken = asyncio.Event()
        self._hinted: set[str] = set()
        self._room_changed = False
        self._starving: list[Wanted] = []
        self._next_tick = 0.0

    def hint(self, queue: str) -> None:
        """Note that a queue has work."""
        self._hinted.add(queue)
        self._woken.set()

    def wake(self) -> None:
        """Note that a worker has room, or that there may be work anywhere."""
        self._room_changed = True
        self._woken.set()

    async def run(self) -> NoReturn:
        """Dispatch for ever."""
        while True:
            tick = await self._wait()
            try:
                await self._look(tick=tick)
            except DatabaseAwayError as error:
                log.warning("dispatch waits for the database: %s", error)
                await asyncio.sleep(_BACKOFF_S)
                self.wake()
            except DatabaseRefusedError:
                log.exception("the database refuses a dispatch round")
                await asyncio.sleep(_BACKOFF_S)

    async def _wait(self) -> bool:
        """Wait for a reason to look; True if it is the tick."""
        try:
            async with asyncio.timeout(max(0.0, self._next_tick - time.monotonic())):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()
        if time.monotonic() < self._next_tick:
            return False
        self._next_tick = time.monotonic() + self._settings.tick_s
        return True

    async def _look(self, *, tick: bool) -> None:
        hinted, self._hinted = self._hinted, set()
        room_changed, self._room_changed = self._room_changed, False
        if tick:
            for session in self._registry:
                session.refused = False
        waiters = self._waiters()
        if tick:
            await self._find_starving(waiters)
        demands = make_demands([waiter for waiter in waiters if waiter.free > 0])
        if demands and (tick or room_changed or any(demand.queue in hinted for demand in demands)):
            await self._round(waiters, demands)

    def _waiters(self) -> list[Waiter]:
        # A worker that has missed a heartbeat is left out: its connection may be dead.
        heard_after = time.monotonic() - (MISSED_HEARTBEATS - 1) * self._settings.heartbeat_interval_s
        found = (session.waiter(heard_after) for session in self._registry)
        return [waiter for waiter in found if waiter is not None]

    async def _find_starving(self, waiters: Sequence[Waiter]) -> None:
        """Look for jobs that are too large for any free room; idle workers have room for all they can hold."""
        tight = [demand for demand in make_demands(waiters) if demand.fits < demand.holds]
        if not tight:
            self._starving = []
            return
        patience = timedelta(seconds=self._settings.starvation_patience_s)
        rows = await self._database.rows(claims.starving(tight, patience), "starving")
        self._starving = [Wanted(row.queue, row.team, row.slots, row.rank, row.priority, row.queued_at) for row in rows]

    async def _round(self, waiters: Sequence[Waiter], demands: Sequence[claims.Demand]) -> None:
        by_id = {session.id: session for session in self._registry}
        async with self._database.transaction("dispatch") as connection:
            rows = (await connection.execute(claims.candidates(demands))).all()
            if not rows:
                return
            pairs = assign(waiters, [_candidate(row) for row in rows], self._starving)
            if not pairs:
                return
            picks = [claims.Pick(job.id, waiter.worker, waiter.session_id, uuid4()) for job, waiter in pairs]
            claimed = (await connection.execute(claims.claim(picks, self._settings.accept_timeout))).all()
        self._metrics.jobs_dispatched.inc(len(claimed))
        await self._push(by_id, picks, claimed)
        if len(claimed) < len(picks) or len(rows) >= min(demand.limit for demand in demands):
            self.wake()

    async def _push(
        self, sessions: "dict[UUID, Session]", picks: Sequence[claims.Pick], claimed: Sequence[Row[Any]]
    ) -> None:
        session_of = {pick.lease_id: sessions[pick.session_id] for pick in picks}
        undelivered = [row.lease_id for row in claimed if not session_of.pop(row.lease_id).offer(row)]
        # The store refused these claims: the workers may get no job, or somebody else has taken the jobs.
        for session in set(session_of.values()):
            session.refused = True
            session.refresh_wishes()
        if undelivered:
            # If this fails the accept timeout puts them back.
            await self._database.rows(leases.release(undelivered), "release")


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


def _candidate(row: Row[Any]) -> Candidate:
    return Candidate(row.queue, row.team, row.slots, row.rank, row.priority, row.queued_at, row.id)
