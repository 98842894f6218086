"""Statements of a dispatch round on `edge.job`: jobs that could start now, and the claim.

They enforce the rules I-2 and I-5 in docs/architecture.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.types import Interval

from edge_store.database.arrays import TEXTS, texts
from edge_store.database.statement import Statement


@dataclass(frozen=True, slots=True)
class Demand:
    """Free slots that some workers have for one queue of one team."""

    queue: str
    team: str | None
    fits: int
    """The largest number of free slots of any of the workers: a larger job can't start now."""
    holds: int
    """The largest total number of slots of any of the workers: a larger job never starts on them."""
    limit: int
    """Maximum number of jobs: the free slots of all of them together."""


Order: TypeAlias = tuple[int, int, datetime]
"""Place of a job among all: rank, priority (higher first), queue time."""


class QueuedJob(NamedTuple):
    """A queued job: what it needs, and its place."""

    id: UUID
    queue: str
    team: str | None
    slots: int
    rank: int
    priority: int
    queued_at: datetime

    @property
    def order(self) -> Order:
        """Lower goes first."""
        return (self.rank, -self.priority, self.queued_at)


_CANDIDATES = text(
    """
    SELECT c.id, c.queue, c.team, c.slots, c.rank, c.priority, c.queued_at
    FROM unnest(:queues, :teams, CAST(:fits AS int[]), CAST(:limits AS int[])) AS d(queue, team, fits, lim)
    CROSS JOIN LATERAL (
        SELECT j.id, j.queue, j.team, j.slots, j.rank, j.priority, j.queued_at FROM edge.job j
        WHERE j.state = 'queued' AND j.queue = d.queue AND j.team IS NOT DISTINCT FROM d.team AND j.slots <= d.fits
        ORDER BY j.rank, j.priority DESC, j.queued_at LIMIT d.lim
        FOR UPDATE SKIP LOCKED
    ) c
    """
).bindparams(bindparam("queues", type_=TEXTS), bindparam("teams", type_=TEXTS))


def candidates(demands: Sequence[Demand]) -> Statement[QueuedJob]:
    """Lock and return queued jobs that could start now.

    Rows that another replica has locked are skipped. The caller assigns workers and calls `claim` in the same
    transaction.
    """
    executable = _CANDIDATES.bindparams(
        queues=[demand.queue for demand in demands],
        teams=[demand.team for demand in demands],
        fits=texts(demand.fits for demand in demands),
        limits=texts(demand.limit for demand in demands),
    )
    return Statement("candidates", executable, QueuedJob)


_STARVING = text(
    """
    SELECT c.id, c.queue, c.team, c.slots, c.rank, c.priority, c.queued_at
    FROM unnest(:queues, :teams, CAST(:fits AS int[]), CAST(:holds AS int[])) AS d(queue, team, fits, holds)
    CROSS JOIN LATERAL (
        SELECT j.id, j.queue, j.team, j.slots, j.rank, j.priority, j.queued_at FROM edge.job j
        WHERE j.state = 'queued' AND j.queue = d.queue AND j.team IS NOT DISTINCT FROM d.team
          AND j.slots > d.fits AND j.slots <= d.holds AND j.queued_at <= now() - :patience
        ORDER BY j.rank, j.priority DESC, j.queued_at LIMIT 1
    ) c
    """
).bindparams(bindparam("queues", type_=TEXTS), bindparam("teams", type_=TEXTS), bindparam("patience", type_=Interval))


def starving(demands: Sequence[Demand], patience: timedelta) -> Statement[QueuedJob]:
    """Return, for each demand, the first job that is too large for any free room and has waited for `patience`.

    The dispatcher keeps room free for them, so that small jobs do not starve a large one forever.
    """
    executable = _STARVING.bindparams(
        queues=[demand.queue for demand in demands],
        teams=[demand.team for demand in demands],
        fits=texts(demand.fits for demand in demands),
        holds=texts(demand.holds for demand in demands),
        patience=patience,
    )
    return Statement("starving", executable, QueuedJob)


@dataclass(frozen=True, slots=True)
class Pick:
    """One job for one session of one worker, under a fresh lease."""

    job_id: UUID
    worker: str
    session_id: UUID
    lease_id: UUID
    outage_tolerance_s: int | None = None
    """Most seconds that the queue allows; None: it has no bound of its own."""


class ClaimedJob(NamedTuple):
    """A job that a worker was given, with what the worker needs to run it."""

    id: UUID
    kind: Literal["task", "callback"]
    slots: int
    workload: str
    log_path: str | None
    worker_name: str
    lease_id: UUID
    queued_at: datetime
    outage_tolerance_s: int


_CLAIM = text(
    """
    WITH pick AS (
        SELECT * FROM unnest(CAST(:jobs AS uuid[]), :workers, CAST(:sessions AS uuid[]), CAST(:leases AS uuid[]),
                             CAST(:tolerances AS int[]))
            AS p(job_id, worker, session_id, lease_id, tolerance)
    ), open AS (
        SELECT d.worker_name, d.queues_added, d.queues_removed FROM edge.worker_desired d
        WHERE d.worker_name IN (SELECT worker FROM pick) AND NOT d.maintenance AND NOT d.shutdown
        ORDER BY d.worker_name FOR SHARE
    ), claimed AS (
        UPDATE edge.job j
        SET state = 'leased', worker_name = p.worker, lease_id = p.lease_id, leased_at = now(),
            lease_expires_at = now() + :accept_timeout,
            -- One that is shorter than the worker needs to end a task would end it at once.
            outage_tolerance_s = CASE
                WHEN least(w.outage_tolerance_s, p.tolerance) < :tolerance_least + w.kill_grace_s THEN 0
                ELSE least(w.outage_tolerance_s, p.tolerance) END
        FROM pick p JOIN open o ON o.worker_name = p.worker JOIN edge.worker w ON w.name = p.worker
            LEFT JOIN edge.credential c ON c.id = w.credential_id
        WHERE j.id = p.job_id AND j.state = 'queued'
          AND w.session_id = p.session_id AND w.cordon_reason IS NULL AND NOT w.maintenance_acknowledged
          AND NOT w.terminating AND NOT w.offline
          AND (w.any_queue OR j.queue = ANY (w.queues)) AND NOT j.queue = ANY (o.queues_removed)
          AND j.team IS NOT DISTINCT FROM w.team
          AND (w.credential_id IS NULL
               OR c.revoked_at IS NULL AND c.expires_at > now() AND c.team IS NOT DISTINCT FROM w.team
                  AND (c.queues IS NULL OR j.queue = ANY (c.queues) OR j.queue = ANY (o.queues_added)))
        RETURNING j.id, j.kind, j.slots, j.workload, j.log_path, j.worker_name, j.lease_id, j.queued_at,
            j.outage_tolerance_s
    ), granted AS (
        INSERT INTO edge.lease (id, job_id, worker_name, log_path)
        SELECT lease_id, id, worker_name, log_path FROM claimed
    )
    SELECT id, kind, slots, workload, log_path, worker_name, lease_id, queued_at, outage_tolerance_s FROM claimed
    """
).bindparams(bindparam("workers", type_=TEXTS), bindparam("accept_timeout", type_=Interval))


def claim(
    picks: Sequence[Pick], accept_timeout: timedelta, tolerance_least: timedelta = timedelta()
) -> Statement[ClaimedJob]:
    """Give jobs to workers (I-2 in docs/architecture.md) and return those given.

    A job's outage tolerance is that of the worker or of its queue, whichever is shorter. One that is shorter than
    `tolerance_least` and the worker's kill grace counts as none.

    Whether a worker may have the job at all is decided here and nowhere else (I-5): the desired row is locked while the
    claim is written, so no claim follows a maintenance request that is stored. The queues that the credential of the
    worker's session grants are looked up each time (one row by its key), so a narrowed scope counts at the next claim.
    """
    executable = _CLAIM.bindparams(
        jobs=texts(pick.job_id for pick in picks),
        workers=[pick.worker for pick in picks],
        sessions=texts(pick.session_id for pick in picks),
        leases=texts(pick.lease_id for pick in picks),
        tolerances=texts(pick.outage_tolerance_s for pick in picks),
        accept_timeout=accept_timeout,
        tolerance_least=tolerance_least.total_seconds(),
    )
    return Statement("claim", executable, ClaimedJob)
