"""What the batchers write: accepts, reports, lost tasks and lease checks, each a batch in one statement.

Results are keyed by lease and worker: a lease named by another worker than its holder is never good.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from edge_api.database.pool import Database
from edge_api.metrics import Metrics
from edge_protocol import JobState
from edge_store.jobs import leases


@dataclass(frozen=True, slots=True)
class LeaseCheck:
    """Leases of one worker to look up."""

    worker: str
    leases: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class LeaseState:
    """Where the job of a lease is."""

    state: JobState
    slots: int


@dataclass(frozen=True, slots=True)
class Loss:
    """A running task whose process is known to be gone."""

    lease_id: UUID
    reason: str


class Writers:
    """Flush functions over one database."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    async def accepts(self, items: Sequence[leases.HeldLease]) -> list[bool]:
        """Return for each lease whether it is running now."""
        rows = await self._database.rows(leases.accept(items), "accept")
        for row in rows:
            self._metrics.dispatch_latency.observe(float(row.waited_s))
        good = {(row.lease_id, row.worker_name) for row in rows}
        return [(item.lease_id, item.worker) in good for item in items]

    async def reports(self, items: Sequence[leases.JobReport]) -> list[bool]:
        """Return for each report whether it counts."""
        rows = await self._database.rows(leases.report(items), "report")
        outcomes = {(item.lease_id, item.worker): item.outcome for item in items}
        good = set()
        for row in rows:
            good.add((row.lease_id, row.worker_name))
            if row.fresh:
                self._metrics.jobs_finished.labels(outcomes[row.lease_id, row.worker_name]).inc()
        return [(item.lease_id, item.worker) in good for item in items]

    async def losses(self, items: Sequence[Loss]) -> list[None]:
        """Declare tasks lost."""
        by_reason: dict[str, list[UUID]] = defaultdict(list)
        for item in items:
            by_reason[item.reason].append(item.lease_id)
        for reason, ids in by_reason.items():
            lost = await self._database.rows(leases.lose(ids, reason), "lose")
            self._metrics.jobs_finished.labels("lost").inc(len(lost))
        return [None] * len(items)

    async def checks(self, items: Sequence[LeaseCheck]) -> list[dict[UUID, LeaseState]]:
        """Return for each check the leases that are the worker's own; one that was voided is left out."""
        ids = [lease for item in items for lease in item.leases]
        rows = await self._database.rows(leases.lease_states(ids), "check")
        found: dict[str, dict[UUID, LeaseState]] = defaultdict(dict)
        for row in rows:
            found[row.worker_name][row.lease_id] = LeaseState(JobState(row.state), row.slots)
        return [
            {lease: found[item.worker][lease] for lease in item.leases if lease in found[item.worker]} for item in items
        ]
