"""Leases on which a session and its worker may differ are looked up in the store, and the session follows the store."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from edge_api.database.batcher import Batcher
from edge_api.database.pool import Database
from edge_api.sessions.lease_view import Phase
from edge_api.sessions.session import Session
from edge_protocol.frames import Ack, Cancel
from edge_protocol.job_state import HELD_STATES, JobState
from edge_store.jobs import leases


@dataclass(frozen=True, slots=True)
class LeaseState:
    """Where the job of a lease is."""

    state: JobState
    slots: int


@dataclass(frozen=True, slots=True)
class _Check:
    """Leases of one worker to look up."""

    worker: str
    leases: Sequence[UUID]


class LeaseChecks:
    """Looks leases up, those of many workers in one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.batcher: Batcher[_Check, dict[UUID, LeaseState]] = Batcher(
            "checks", self._read, weigh=lambda check: len(check.leases), most=5000
        )

    def check(self, session: Session, ids: Sequence[UUID]) -> None:
        """Look leases of a session's worker up, then follow the store."""
        asked = time.monotonic()
        future = self.batcher.submit(_Check(session.worker, ids))
        session.track(future, lambda states: follow_store(session, ids, states, asked))

    async def _read(self, checks: Sequence[_Check]) -> list[dict[UUID, LeaseState]]:
        """Return for each check the leases that are the worker's own; a voided one is left out."""
        ids = [lease for check in checks for lease in check.leases]
        found: dict[str, dict[UUID, LeaseState]] = defaultdict(dict)
        for row in await self._database.rows(leases.lease_states(ids)):
            found[row.worker_name][row.lease_id] = LeaseState(JobState(row.state), row.slots)
        return [
            {lease: found[check.worker][lease] for lease in check.leases if lease in found[check.worker]}
            for check in checks
        ]


def follow_store(session: Session, ids: Sequence[UUID], states: Mapping[UUID, LeaseState], asked: float) -> None:
    """Bring the session's view of leases, and its worker, to what the store had at the time `asked` or later.

    A lease that is missing from `states` is not the worker's any more, or never was.
    """
    for lease in ids:
        holding = session.leases.get(lease)
        if (holding is not None and holding.reporting) or session.leases.released_after(lease, asked):
            continue
        found = states.get(lease)
        if found is not None and found.state in HELD_STATES:
            running = found.state is JobState.RUNNING
            session.leases.add(lease, found.slots, Phase.RUNNING if running else Phase.OFFERED, time.monotonic())
            if running:
                session.leases.accepted(lease)
        elif found is not None and found.state in (JobState.SUCCEEDED, JobState.FAILED):
            # Reported by way of another session or replica; the worker may not know that yet.
            session.send(Ack(of="report", lease_id=lease))
            session.release(lease)
        elif holding is None or holding.phase is Phase.OFFERED:
            session.fence(lease, "held")
        elif holding.phase is Phase.RUNNING:
            session.leases.cancel(lease, time.monotonic())
            session.send(Cancel(lease_id=lease, reason="The job was taken back."))
