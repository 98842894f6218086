"""Rows of the store as people see them. Pure: the only clock is the `now` of the row, from the database."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from edge_protocol.admin import (
    CordonView,
    JobView,
    MaintenanceView,
    QueueView,
    Reason,
    ReasonCode,
    WorkerFilter,
    WorkerView,
)
from edge_protocol.frames import Versions
from edge_protocol.worker_state import GONE_STATES, MISSED_HEARTBEATS, Desired, Observed, worker_state
from edge_store.jobs.job_views import JobRow, QueueDepth, QueueTraffic
from edge_store.workers.worker_views import FleetGroup, FleetRow, WorkerRow

ANY_QUEUE: Final = "*"
"""Shown as the only queue of a worker that serves all of them."""

TRAFFIC_WINDOW: Final = timedelta(minutes=5)
"""Arrivals and ends of jobs are counted over this time."""


def observed_of(row: WorkerRow | FleetRow, heartbeat_interval: timedelta) -> Observed:
    """Return what a worker last reported; a v1 worker has a heartbeat interval of its own."""
    own = row.silent_after_s
    return Observed(
        last_heartbeat=row.last_heartbeat,
        heartbeat_interval=heartbeat_interval if own is None else timedelta(seconds=own) / MISSED_HEARTBEATS,
        initialised=row.initialised,
        jobs_active=row.jobs_active,
        maintenance_acknowledged=row.maintenance_acknowledged,
        terminating=row.terminating,
        offline=row.offline,
    )


def worker_view(row: WorkerRow, heartbeat_interval: timedelta) -> WorkerView:
    """Return a row of `fleet.views` as people see it."""
    desired = Desired(maintenance=row.maintenance, shutdown=row.shutdown)
    state = worker_state(desired, observed_of(row, heartbeat_interval), row.now)
    concurrency = row.concurrency if row.concurrency_override is None else row.concurrency_override
    gone = state in GONE_STATES
    return WorkerView(
        name=row.name,
        state=state,
        team=row.team,
        queues=queues_served(row),
        queues_added=row.queues_added,
        queues_removed=row.queues_removed,
        concurrency=concurrency,
        concurrency_override=row.concurrency_override,
        jobs_active=row.jobs_active,
        slots_free=0 if gone else max(0, concurrency - row.slots_used),
        slots_used=row.slots_used,
        maintenance=_maintenance(row),
        shutdown=row.shutdown,
        cordon=CordonView(reasons=_cordon(row)),
        protocol=row.protocol,
        versions=Versions.model_validate({"worker": "unknown", **row.versions}),
        sysinfo=row.sysinfo,
        first_online=row.first_online,
        last_heartbeat=row.last_heartbeat,
        credential_expires_at=row.credential_expires_at,
        outage_tolerance_s=row.outage_tolerance_s,
        jobs_kept_until=row.jobs_kept_until,
        revision=row.revision,
    )


def queues_served(row: WorkerRow | FleetGroup) -> list[str]:
    """Return the queues (ANY_QUEUE: all) that the next claim goes by: the session's, with what changed since."""
    if row.any_queue:
        return [ANY_QUEUE]
    added, removed = set(row.queues_added), set(row.queues_removed)
    served = (set(row.queues) | added) - removed
    if row.granted_queues is not None:
        served &= set(row.granted_queues) | added
    return sorted(served)


def _maintenance(row: WorkerRow) -> MaintenanceView | None:
    if not row.maintenance:
        return None
    return MaintenanceView(comment=row.maintenance_comment, by=row.maintenance_by, at=row.maintenance_at)


def _cordon(row: WorkerRow) -> list[Reason]:
    reasons = []
    if row.maintenance:
        by = f" by {row.maintenance_by}" if row.maintenance_by else ""
        reasons.append(
            _reason(ReasonCode.MAINTENANCE, f"In maintenance{by}: {row.maintenance_comment or 'no comment'}")
        )
    elif row.maintenance_acknowledged:
        reasons.append(_reason(ReasonCode.MAINTENANCE, "Its maintenance has ended; it has not said yet that it knows."))
    if row.shutdown:
        reasons.append(_reason(ReasonCode.SHUTDOWN, "It is asked to shut down."))
    if row.terminating:
        reasons.append(_reason(ReasonCode.TERMINATING, "It finishes its jobs and stops."))
    if row.cordon_reason is not None:
        reasons.append(_reason(ReasonCode.VERSION, row.cordon_reason))
    return reasons


def _reason(code: ReasonCode, message: str) -> Reason:
    return Reason(code=code, message=message)


def serves(worker: WorkerView, queue: str) -> bool:
    """Return whether a worker takes jobs of a queue."""
    return queue in worker.queues or worker.queues == [ANY_QUEUE]


def matches(worker: WorkerView, wanted: WorkerFilter) -> bool:
    """Return whether a worker fulfils all conditions of a filter."""
    return (
        (wanted.state is None or worker.state in wanted.state)
        and (wanted.queue is None or any(serves(worker, queue) for queue in wanted.queue))
        and (wanted.team is None or worker.team == wanted.team)
        and (wanted.name is None or fnmatch.fnmatchcase(worker.name, wanted.name))
    )


def job_view(row: JobRow) -> JobView:
    """Return a row of `edge_store.jobs.job_views` as people see it."""
    return JobView(worker=row.worker_name, **{name: getattr(row, name) for name in _JOB_FIELDS})


_JOB_FIELDS: Final = tuple(name for name in JobView.model_fields if name != "worker")


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """The jobs of a queue: how many wait, and what came and finished in the last minutes."""

    depth: int = 0
    oldest_s: float = 0.0
    arrived_per_min: float = 0.0
    finished_per_min: float = 0.0


def queue_loads(depths: Iterable[QueueDepth], traffic: Iterable[QueueTraffic]) -> dict[str, QueueLoad]:
    """Return the load of each queue that has any; `traffic` is that of TRAFFIC_WINDOW."""
    minutes = TRAFFIC_WINDOW.total_seconds() / 60
    waiting = {row.queue: (row.depth, max(0.0, float(row.oldest_s))) for row in depths}
    lately = {row.queue: (row.arrived / minutes, row.finished / minutes) for row in traffic}
    return {
        queue: QueueLoad(*waiting.get(queue, (0, 0.0)), *lately.get(queue, (0.0, 0.0)))
        for queue in waiting.keys() | lately.keys()
    }


def queue_views(loads: Mapping[str, QueueLoad], workers: Iterable[WorkerView]) -> list[QueueView]:
    """Return backlog and room of each queue that has a job waiting or a worker, by name."""
    there = [worker for worker in workers if worker.state not in GONE_STATES]
    named = {queue for worker in there for queue in worker.queues if queue != ANY_QUEUE}
    waiting = {queue for queue, load in loads.items() if load.depth}
    return [queue_view(queue, loads.get(queue, QueueLoad()), there) for queue in sorted(named | waiting)]


def queue_view(queue: str, load: QueueLoad, workers: Sequence[WorkerView]) -> QueueView:
    """Return backlog and room of one queue."""
    serving = [worker for worker in workers if worker.state not in GONE_STATES and serves(worker, queue)]
    capable = [worker for worker in serving if not worker.cordon.reasons]
    return QueueView(
        queue=queue,
        depth=load.depth,
        oldest_s=load.oldest_s,
        slots_free=sum(worker.slots_free for worker in capable),
        slots_used=sum(worker.slots_used for worker in serving),
        workers_capable=len(capable),
        workers_cordoned=len(serving) - len(capable),
        arrived_per_min=load.arrived_per_min,
        finished_per_min=load.finished_per_min,
    )


def age(now: datetime, then: datetime) -> str:
    """Return how long ago something was, in words."""
    seconds = max(0, int((now - then).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
