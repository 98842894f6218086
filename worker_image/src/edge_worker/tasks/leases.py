"""The leases of this worker and what follows from each event: pure decisions, no I/O, no clock.

    job --> OFFERED --ack(accept)--> RUNNING --process ended--> ENDED --ack(report) or fenced--> DECIDED --> released
                                                                          (its log may still be on its way)

Every method returns its effects: frames to send, tasks to start or to end, leases to release. `Work` carries them out.
"""

import logging
from dataclasses import dataclass
from enum import Enum, auto
from uuid import UUID

from edge_protocol.frames import Accept, Job, Report
from edge_protocol.limits import ERROR_TEXT_MAX
from edge_worker.tasks.contact import Tolerance
from edge_worker.tasks.outcome import Outcome
from edge_worker.tasks.spool import JobInfo
from edge_worker.tasks.start_failures import StartFailures

log = logging.getLogger(__name__)


class Phase(Enum):
    """The state of a lease on this side of the wire."""

    OFFERED = auto()
    """Accepted here, not confirmed by the edge API."""
    RUNNING = auto()
    ENDED = auto()
    """The task has ended, its report is not acknowledged."""
    DECIDED = auto()
    """The edge API needs no report any more; only the log may be left to deliver."""


@dataclass(eq=False)
class Lease:
    """One lease."""

    job: JobInfo
    phase: Phase
    workload: str | None = None
    """Kept only until the task has started: it holds the task's token."""
    outcome: Outcome | None = None
    kill_reason: str | None = None
    """Why this worker ends the task, for the report."""
    fenced: bool = False
    outage_tolerance_s: int = 0
    """How long the task survives without contact; 0: the control plane gives the job up with the worker."""
    tolerance: Tolerance | None = None
    """Set with the first accept of a job that survives without contact."""
    dead_by: float | None = None
    """When the grace period of a task that is being ended is over."""

    @property
    def id(self) -> UUID:
        """The lease's id."""
        return self.job.lease_id


@dataclass(frozen=True, slots=True)
class Send:
    """Send a frame."""

    frame: Accept | Report


@dataclass(frozen=True, slots=True)
class Start:
    """Start the task of a lease."""

    lease: Lease
    workload: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End the task of a lease: SIGTERM, grace, SIGKILL."""

    lease: Lease
    grace_s: float | None = None
    """None: the worker's usual grace period."""


@dataclass(frozen=True, slots=True)
class Release:
    """Forget a lease if its log is delivered, too."""

    lease: Lease


Effect = Send | Start | Kill | Release


class Leases:
    """All leases of the worker."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.cordoned = False
        """The worker takes no jobs: it is in maintenance."""
        self.draining = False
        """The worker takes no jobs: it is stopping."""
        self.starts = StartFailures()
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
        """Tasks that run or are about to start."""
        return len(self.in_phase(Phase.OFFERED, Phase.RUNNING))

    @property
    def free_slots(self) -> int:
        """Slots that no task uses."""
        return max(0, self.concurrency - sum(lease.job.slots for lease in self.in_phase(Phase.OFFERED, Phase.RUNNING)))

    def restore(self, job: JobInfo, outcome: Outcome) -> None:
        """Take over the lease of a former agent, whose task has ended."""
        self._leases[job.lease_id] = Lease(job, Phase.ENDED, outcome=outcome)

    def on_session(self) -> list[Send]:
        """Repeat everything that the server has not acknowledged: a new session is open."""
        return [effect for lease in self._leases.values() for effect in _unacknowledged(lease)]

    def on_job(self, frame: Job) -> list[Effect]:
        """Accept an offered job, or let the offer lapse: the server then gives it to another worker."""
        lease = self._leases.get(frame.lease_id)
        if lease is not None:
            return [Send(Accept(lease_id=lease.id))]
        if self.cordoned or self.draining or self.starts.reason is not None:
            log.info("job %s is not accepted: the worker takes no jobs now", frame.job_id)
            return []
        if frame.slots > self.free_slots:
            log.warning("job %s is not accepted: %d slots, %d free", frame.job_id, frame.slots, self.free_slots)
            return []
        job = JobInfo(frame.lease_id, frame.job_id, frame.kind, frame.slots, frame.log_path)
        self._leases[job.lease_id] = Lease(
            job, Phase.OFFERED, workload=frame.workload, outage_tolerance_s=frame.outage_tolerance_s
        )
        return [Send(Accept(lease_id=job.lease_id))]

    def on_accept_ack(self, lease_id: UUID) -> list[Effect]:
        """Start the task: the store now records that this lease runs it."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.phase is not Phase.OFFERED or lease.workload is None:
            return []
        lease.phase = Phase.RUNNING
        workload, lease.workload = lease.workload, None
        return [Start(lease, workload)]

    def on_ended(self, lease: Lease, outcome: Outcome) -> list[Effect]:
        """Report how a task ended; of a fenced lease nothing is reported."""
        if lease.phase is not Phase.RUNNING:
            return []
        lease.outcome = outcome
        if lease.fenced:
            lease.phase = Phase.DECIDED
            return [Release(lease)]
        lease.phase = Phase.ENDED
        return [*_unacknowledged(lease)]

    def on_report_ack(self, lease_id: UUID) -> list[Effect]:
        """Note that the server has stored how the task ended."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.phase is not Phase.ENDED:
            return []
        lease.phase = Phase.DECIDED
        return [Release(lease)]

    def on_log_ack(self, lease_id: UUID) -> list[Effect]:
        """Check whether that was the last of the log."""
        lease = self._leases.get(lease_id)
        return [Release(lease)] if lease is not None and lease.phase is Phase.DECIDED else []

    def on_fenced(self, lease_id: UUID, reason: str) -> list[Effect]:
        """Give the lease up: another worker may have the job. Its log is still sent."""
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
        lease.phase = Phase.DECIDED
        return [Release(lease)]

    def on_cancel(self, lease_id: UUID, reason: str) -> list[Effect]:
        """End a task that Airflow no longer wants."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return []
        if lease.phase is Phase.OFFERED:
            lease.workload = None
            lease.phase = Phase.ENDED
            lease.outcome = Outcome("failed", error=f"cancelled before it started: {reason}")
            return [*_unacknowledged(lease)]
        return self.kill(lease, f"cancelled: {reason}") if lease.phase is Phase.RUNNING else []

    def kill(self, lease: Lease, reason: str, grace_s: float | None = None) -> list[Effect]:
        """End a running task for a reason that goes into its report."""
        if lease.kill_reason is not None:
            return []
        lease.kill_reason = reason
        return [Kill(lease, grace_s)]

    def forget(self, lease: Lease) -> None:
        """Drop a released lease: nothing of it is left to deliver."""
        self._leases.pop(lease.id, None)


def _unacknowledged(lease: Lease) -> list[Send]:
    """Return the accept or report that the server has not acknowledged."""
    if lease.phase is Phase.OFFERED:
        return [Send(Accept(lease_id=lease.id))]
    if lease.phase is Phase.ENDED and lease.outcome is not None:
        error = lease.outcome.error
        report = Report(
            lease_id=lease.id,
            outcome=lease.outcome.outcome,
            exit_code=lease.outcome.exit_code,
            error=error[:ERROR_TEXT_MAX] if error else None,
        )
        return [Send(report)]
    return []
