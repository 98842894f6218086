"""Gauges that come from the database: looked up when Prometheus asks, at most every few seconds."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import generate_latest

from edge_api.database.pool import Database
from edge_api.errors import DatabaseAwayError
from edge_api.fleet.views import observed_of
from edge_api.metrics import Metrics
from edge_protocol import Desired, WorkerState, worker_state
from edge_store import outages
from edge_store.jobs import job_views
from edge_store.workers import worker_views

CACHE_S: Final = 5.0
PATIENCE_S: Final = 5.0
"""Prometheus waits 10 s by default; in a stall of the database the metrics of this process are needed most."""
QUEUES_MOST: Final = 500
"""Queues shown one by one, with jobs and slots alike; jobs of the rest are summed up as `(others)`."""
OTHERS: Final = "(others)"


class Scrape:
    """Makes the text that `/metrics` answers."""

    def __init__(self, database: Database, metrics: Metrics, heartbeat_interval_s: float) -> None:
        self._database = database
        self._metrics = metrics
        self._interval = timedelta(seconds=heartbeat_interval_s)
        self._looked_at = float("-inf")
        self.router = APIRouter()
        self.router.add_api_route("/metrics", self.metrics)

    async def metrics(self) -> Response:
        """Answer Prometheus."""
        return Response(await self.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        if time.monotonic() - self._looked_at > CACHE_S:
            self._looked_at = time.monotonic()
            await self._look()
        return generate_latest(self._metrics.registry)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                depths = await self._database.rows(job_views.queue_depths())
                fleet = await self._database.rows(worker_views.fleet())
                [away] = await self._database.rows(outages.out_of_contact())
        except (DatabaseAwayError, TimeoutError):
            # Old numbers would look like true ones.
            depths, fleet = [], []
            self._metrics.database_up.set(0)
            self._metrics.jobs_out_of_contact.set(0)
        else:
            self._metrics.jobs_out_of_contact.set(away.jobs)
            self._metrics.database_up.set(1)
        slots = self._show_fleet(fleet)
        totals: Counter[str] = Counter()
        for (queue, _), count in slots.items():
            totals[queue] += count
        shown = queues_shown({row.queue: row.depth for row in depths}, totals, QUEUES_MOST)
        self._show_queues(depths, shown)
        self._show_slots(slots, shown)

    def _show_queues(self, rows: Sequence[job_views.QueueDepth], shown: set[str]) -> None:
        self._metrics.queue_depth.clear()
        self._metrics.queue_oldest.clear()
        for row in rows:
            if row.queue in shown:
                self._metrics.queue_depth.labels(row.queue).set(row.depth)
                self._metrics.queue_oldest.labels(row.queue).set(float(row.oldest_s))
        if rest := [row for row in rows if row.queue not in shown]:
            self._metrics.queue_depth.labels(OTHERS).set(sum(row.depth for row in rest))
            self._metrics.queue_oldest.labels(OTHERS).set(max(float(row.oldest_s) for row in rest))

    def _show_slots(self, slots: Mapping[tuple[str, str], int], shown: set[str]) -> None:
        self._metrics.slots.clear()
        for (queue, use), count in slots.items():
            if queue in shown:
                self._metrics.slots.labels(queue, use).set(count)

    def _show_fleet(self, rows: Sequence[worker_views.FleetRow]) -> Counter[tuple[str, str]]:
        """Show workers by state, and return the slots of each queue by their use."""
        now = datetime.now(UTC)
        states: Counter[str] = Counter({state.value: 0 for state in WorkerState})
        slots: Counter[tuple[str, str]] = Counter()
        for row in rows:
            observed = observed_of(row, self._interval)
            state = worker_state(Desired(row.maintenance, row.shutdown), observed, now)
            states[state.value] += 1
            if state in (WorkerState.IDLE, WorkerState.RUNNING):
                for queue in row.queues:
                    slots[queue, "free"] += row.free_slots
                    slots[queue, "used"] += max(0, row.concurrency - row.free_slots)
        for name, count in states.items():
            self._metrics.workers.labels(name).set(count)
        return slots


def queues_shown(depths: Mapping[str, int], slots: Mapping[str, int], most: int) -> set[str]:
    """Return the queues to show: those with most jobs waiting, then those with most slots.

    A queue is shown with both or with none: an alert about jobs without slots compares the two.
    """
    waiting = sorted(depths, key=lambda queue: -depths[queue])
    served = sorted(slots.keys() - depths.keys(), key=lambda queue: -slots[queue])
    return set([*waiting, *served][:most])
