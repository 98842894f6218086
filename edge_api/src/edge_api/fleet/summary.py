"""The fleet in one line, from groups of equal workers. Pure: the only clock is the `now` of the rows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from edge_api import __version__
from edge_api.fleet.views import ANY_QUEUE, queues_served
from edge_protocol.admin import Summary
from edge_protocol.worker_state import GONE_STATES, Desired, Observed, WorkerState, worker_state
from edge_store.jobs.job_views import HeldJobs, QueueDepth
from edge_store.workers.worker_views import FleetGroup

UNSERVED_MOST: Final = 100

_LONG_AGO: Final = timedelta(days=1)


def summary(groups: Sequence[FleetGroup], depths: Sequence[QueueDepth], held: HeldJobs) -> Summary:
    """Return the summary of a part of the fleet and of its waiting and held jobs."""
    states: Counter[WorkerState] = Counter()
    slots = used = 0
    served: set[str] = set()
    for group in groups:
        state = _state(group)
        states[state] += group.workers
        if state in GONE_STATES:
            continue
        slots += group.slots
        used += group.slots_used
        if not _cordoned(group):
            served.update(queues_served(group))
    return Summary(
        at=held.now,
        version=__version__,
        workers={state: states[state] for state in WorkerState},
        slots=slots,
        slots_used=used,
        jobs_queued=sum(row.depth for row in depths),
        jobs_running=held.jobs,
        oldest_s=max((max(0.0, float(row.oldest_s)) for row in depths), default=0.0),
        queues_unserved=_unserved((row.queue for row in depths), served),
    )


def _unserved(waiting: Iterable[str], served: set[str]) -> list[str]:
    return [] if ANY_QUEUE in served else sorted(set(waiting) - served)[:UNSERVED_MOST]


def _state(group: FleetGroup) -> WorkerState:
    """Return the state of the workers; the database has compared their last heartbeats with its clock already."""
    observed = Observed(
        last_heartbeat=group.now - (_LONG_AGO if group.silent else timedelta()),
        initialised=group.initialised,
        jobs_active=int(group.busy),
        maintenance_acknowledged=group.maintenance_acknowledged,
        terminating=group.terminating,
        offline=group.offline,
    )
    return worker_state(Desired(maintenance=group.maintenance, shutdown=group.shutdown), observed, group.now)


def _cordoned(group: FleetGroup) -> bool:
    return (
        group.maintenance
        or group.maintenance_acknowledged
        or group.shutdown
        or group.terminating
        or group.cordon_reason is not None
    )
