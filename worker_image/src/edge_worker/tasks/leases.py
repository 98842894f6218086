"""The leases a worker has, and what follows from each thing that happens: pure decisions, no I/O, no clock.

    job --> OFFERED --ack(accept)--> RUNNING --process ended--> ENDED --ack(report) or fenced--> SETTLED --> forgotten
                                                                          (its log may still be on its way)

Whoever drives this hands in events and carries out the actions it returns. Frames to send collect in `outbox`.
"""

import logging
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from uuid import UUID

from edge_protocol.frames import Accept, Job, Report
from edge_protocol.limits import ERROR_TEXT_MAX
from edge_worker.tasks.spool import JobInfo, Outcome

log = logging.getLogger(__name__)

UNWANTED_LOG_ANSWERS = 3
"""So many `fenced` without progress for a lease of which only the log is left: the server does not know it any more."""


class Phase(Enum):
    """Where a lease is on this side of the wire."""

    OFFERED = auto()
    RUNNING = auto()
    ENDED = auto()
    SETTLED = auto()


@dataclass(eq=False)
class Lease:
    """One lease."""

    job: JobInfo
    phase: Phase
    workload: str | None = None
    """Only until the task has started: it holds the task's token."""
    outcome: Outcome | None = None
    kill_reason: str | None = None
    """Why this worker ends the task, for the report."""
    fenced: bool = False
    unwanted: int = 0

    @property
    def id(self) -> UUID:
        """The lease's id."""
        return self.job.lease_id


@dataclass(frozen=True, slots=True)
class Start:
    """Start the task of a lease."""

    lease: Lease
    workload: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End the task of a lease: SIGTERM, grace, SIGKILL."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Tidy:
    """See whether everything of a lease is delivered, and forget it then."""

    lease: Lease
    drop_log: bool = False


Action = Start | Kill | Tidy


class Leases:
    """All leases of the worker."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.taking_jobs = True
        """Off while the worker drains or is in maintenance."""
        self.outbox: deque[Accept | Report] = deque()
        self._leases: dict[UUID, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, lease_id: UUID) -> Lease | None:
        """Return a lease, if it is known."""
        return self._leases.get(lease_id)

    def in_phase(self, *phases: Phase) -> list[Lease]:
        """Return the leases in any of some phases."""
        return [lease for lease in self._leases.values() if lease.phase in phases]

    @property
    def held(self) -> list[UUID]:
        """Leases whose report was not acknowledged."""
        return [lease.id for lease in self.in_phase(Phase.OFFERED, Phase.RUNNING, Phase.ENDED) if not lease.fenced]

    @property
    def active(self) -> int:
        """Tasks that run or are about to."""
        return len(self.in_phase(Phase.OFFERED, Phase.RUNNING))

    @property
    def free_slots(self) -> int:
        """Slots that no task uses."""
        return max(0, self.concurrency - sum(lease.job.slots for lease in self.in_phase(Phase.OFFERED, Phase.RUNNING)))

    def restore(self, job: JobInfo, outcome: Outcome) -> Lease:
        """Take over the lease of a former agent, whose task is over."""
        lease = Lease(job, Phase.ENDED, outcome=outcome)
        self._leases[lease.id] = lease
        return lease

    def on_session(self) -> None:
        """Say everything again that the server has not acknowledged: a new session is on."""
        self.outbox.clear()
        for lease in self._leases.values():
            self._say(lease)

    def on_job(self, frame: Job) -> list[Action]:
        """Take an offered job, or let the offer lapse: the server then gives it to another worker."""
        lease = self._leases.get(frame.lease_id)
        if lease is not None:
            self.outbox.append(Accept(lease_id=lease.id))
        elif not self.taking_jobs:
            log.info("job %s is not accepted: the worker takes no jobs now", frame.job_id)
        elif frame.slots > self.free_slots:
            log.warning("job %s is not accepted: %d slots, %d free", frame.job_id, frame.slots, self.free_slots)
        else:
            job = JobInfo(frame.lease_id, frame.job_id, frame.kind, frame.slots, frame.log_path)
            lease = Lease(job, Phase.OFFERED, workload=frame.workload)
            self._leases[lease.id] = lease
            self._say(lease)
        return []

    def on_accept_ack(self, lease_id: UUID) -> list[Action]:
        """Start the task: the store now says that this lease runs it."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.phase is not Phase.OFFERED or lease.workload is None:
            return []
        lease.phase = Phase.RUNNING
        workload, lease.workload = lease.workload, None
        return [Start(lease, workload)]

    def on_report_ack(self, lease_id: UUID) -> list[Action]:
        """Settle the lease: the server knows how its task ended."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.phase is not Phase.ENDED:
            return []
        lease.phase = Phase.SETTLED
        return [Tidy(lease)]

    def on_log_ack(self, lease_id: UUID) -> list[Action]:
        """See whether that was the last of the log."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return []
        lease.unwanted = 0
        return [Tidy(lease)] if lease.phase is Phase.SETTLED else []

    def on_fenced(self, lease_id: UUID, reason: str) -> list[Action]:
        """Give the lease up: another worker may have the job. Its log still goes to the server."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return []
        log.warning("lease %s is fenced: %s", lease_id, reason)
        lease.fenced = True
        if lease.phase is Phase.OFFERED:
            del self._leases[lease_id]
            return []
        if lease.phase is Phase.RUNNING:
            return self.kill(lease, f"fenced: {reason}")
        if lease.phase is Phase.SETTLED:
            lease.unwanted += 1
        lease.phase = Phase.SETTLED
        return [Tidy(lease, drop_log=lease.unwanted >= UNWANTED_LOG_ANSWERS)]

    def on_cancel(self, lease_id: UUID, reason: str) -> list[Action]:
        """End a task that is not wanted any more."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return []
        if lease.phase is Phase.OFFERED:
            lease.workload = None
            lease.phase = Phase.ENDED
            lease.outcome = Outcome("failed", error=f"cancelled before it started: {reason}")
            self._say(lease)
            return []
        return self.kill(lease, f"cancelled: {reason}") if lease.phase is Phase.RUNNING else []

    def kill(self, lease: Lease, reason: str) -> list[Action]:
        """End a running task for a reason that goes into its report."""
        if lease.kill_reason is not None:
            return []
        lease.kill_reason = reason
        return [Kill(lease)]

    def on_ended(self, lease: Lease, outcome: Outcome) -> list[Action]:
        """Report how a task ended."""
        if lease.phase is not Phase.RUNNING:
            return []
        lease.outcome = outcome
        if lease.fenced:
            lease.phase = Phase.SETTLED
            return [Tidy(lease)]
        lease.phase = Phase.ENDED
        self._say(lease)
        return []

    def forget(self, lease: Lease) -> None:
        """Drop a settled lease: nothing of it is left to deliver."""
        self._leases.pop(lease.id, None)

    def _say(self, lease: Lease) -> None:
        if lease.phase is Phase.OFFERED:
            self.outbox.append(Accept(lease_id=lease.id))
        elif lease.phase is Phase.ENDED and lease.outcome is not None:
            error = lease.outcome.error
            self.outbox.append(
                Report(
                    lease_id=lease.id,
                    outcome=lease.outcome.outcome,
                    exit_code=lease.outcome.exit_code,
                    error=error[:ERROR_TEXT_MAX] if error else None,
                )
            )
