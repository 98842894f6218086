"""The state of a worker that people see, as a pure function of its desired and its observed state.

The twelve names and their meaning are those of Airflow's edge provider, so that dashboards and habits carry
over. No state is stored: the store keeps the two inputs, and every reader computes the same result.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MISSED_HEARTBEATS = 3
"""Heartbeat intervals of silence after which a worker counts as unknown (I-4 in docs/architecture.md)."""


class WorkerState(StrEnum):
    """Names as in `EdgeWorkerState` of apache-airflow-providers-edge3."""

    STARTING = "starting"
    IDLE = "idle"
    RUNNING = "running"
    SHUTDOWN_REQUEST = "shutdown request"
    TERMINATING = "terminating"
    OFFLINE = "offline"
    UNKNOWN = "unknown"
    MAINTENANCE_REQUEST = "maintenance request"
    MAINTENANCE_PENDING = "maintenance pending"
    MAINTENANCE_MODE = "maintenance mode"
    MAINTENANCE_EXIT = "maintenance exit"
    OFFLINE_MAINTENANCE = "offline maintenance"


GONE_STATES = frozenset({WorkerState.OFFLINE, WorkerState.UNKNOWN, WorkerState.OFFLINE_MAINTENANCE})
"""States of a worker that is not connected any more."""


@dataclass(frozen=True, slots=True)
class Desired:
    """What an administrator or the worker's host requested."""

    maintenance: bool = False
    shutdown: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What the worker last reported."""

    last_heartbeat: datetime | None = None
    """None until the first hello."""
    heartbeat_interval: timedelta = timedelta(seconds=10)
    initialised: bool = True
    """False from the hello until the worker reports that it can take jobs."""
    jobs_active: int = 0
    maintenance_acknowledged: bool = False
    """The worker has seen the maintenance request and takes no new jobs."""
    terminating: bool = False
    """The worker drains and then stops."""
    offline: bool = False
    """The worker disconnected cleanly (bye)."""


def heartbeat_deadline(observed: Observed) -> datetime | None:
    """Return the time from which the worker counts as unknown, or None if it was never connected."""
    if observed.last_heartbeat is None:
        return None
    return observed.last_heartbeat + MISSED_HEARTBEATS * observed.heartbeat_interval


def is_cordoned(desired: Desired) -> bool:
    """Return whether the desired state forbids to give the worker jobs (I-5 in docs/architecture.md)."""
    return desired.maintenance or desired.shutdown


def worker_state(desired: Desired, observed: Observed, now: datetime) -> WorkerState:
    """Return the state to show for a worker.

    `now` and the times in `observed` must either all be timezone-aware or all be naive.
    """
    gone = _gone_state(desired, observed, now)
    if gone is not None:
        return gone
    if observed.terminating:
        return WorkerState.TERMINATING
    if desired.shutdown:
        return WorkerState.SHUTDOWN_REQUEST
    if desired.maintenance or observed.maintenance_acknowledged:
        return _maintenance_state(desired, observed)
    if not observed.initialised:
        return WorkerState.STARTING
    return WorkerState.RUNNING if observed.jobs_active else WorkerState.IDLE


def _gone_state(desired: Desired, observed: Observed, now: datetime) -> WorkerState | None:
    """Return the state of a worker that is gone, or None if it is connected."""
    deadline = heartbeat_deadline(observed)
    in_maintenance = desired.maintenance or observed.maintenance_acknowledged
    if observed.offline:
        return WorkerState.OFFLINE_MAINTENANCE if in_maintenance else WorkerState.OFFLINE
    if deadline is None:
        return WorkerState.OFFLINE
    if now >= deadline:
        return WorkerState.OFFLINE_MAINTENANCE if in_maintenance else WorkerState.UNKNOWN
    return None


def _maintenance_state(desired: Desired, observed: Observed) -> WorkerState:
    """Return how far a live worker is on its way into or out of maintenance."""
    if not desired.maintenance:
        return WorkerState.MAINTENANCE_EXIT
    if not observed.maintenance_acknowledged:
        return WorkerState.MAINTENANCE_REQUEST
    return WorkerState.MAINTENANCE_PENDING if observed.jobs_active else WorkerState.MAINTENANCE_MODE
