"""`accept`: the worker takes a job. The job moves to running, then the accept is acknowledged, then the task starts."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from edge_api.database.batcher import LOCKED, Batcher, Later
from edge_api.database.pool import Database
from edge_api.metrics import Metrics
from edge_api.sessions.lease_checks import LeaseChecks
from edge_api.sessions.session import Session
from edge_protocol.frames import Accept, Ack
from edge_store.jobs import leases


class AcceptHandler:
    """Handles `accept` frames, those of many workers in one statement."""

    def __init__(self, database: Database, metrics: Metrics, checks: LeaseChecks) -> None:
        self._database = database
        self._metrics = metrics
        self._checks = checks
        self.batcher: Batcher[leases.HeldLease, bool] = Batcher("accepts", self._write)

    def handle(self, session: Session, frame: Accept) -> None:
        """Move the job to running, then acknowledge."""
        held = leases.HeldLease(frame.lease_id, session.worker)
        session.track(self.batcher.submit(held), partial(self._answer, session, frame.lease_id))

    async def _write(self, items: Sequence[leases.HeldLease]) -> list[bool | Later]:
        """Return for each lease whether its job is running now under the worker that named it."""
        found: dict[tuple[UUID, str], Later | bool] = {}
        for row in await self._database.rows(leases.accept(items)):
            found[row.lease_id, row.worker_name] = LOCKED if row.locked else True
            if not row.locked:
                self._metrics.dispatch_latency.observe(float(row.waited_s))
        return [found.get((item.lease_id, item.worker), False) for item in items]

    def _answer(self, session: Session, lease: UUID, running: bool) -> None:
        if not running:
            session.fence(lease, "accept")
            return
        if session.leases.get(lease) is None:
            # The job was given to the worker in an earlier session, or by another replica.
            self._checks.check(session, [lease])
        session.leases.accepted(lease)
        session.send(Ack(of="accept", lease_id=lease))
