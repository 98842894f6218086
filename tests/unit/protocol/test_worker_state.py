"""The table (desired, observed) -> state, and each documented transition."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from edge_protocol.worker_state import (
    MISSED_HEARTBEATS,
    Desired,
    Observed,
    WorkerState,
    heartbeat_deadline,
    is_cordoned,
    worker_state,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INTERVAL = timedelta(seconds=10)
ALIVE = Observed(last_heartbeat=NOW, heartbeat_interval=INTERVAL)
SILENT = replace(ALIVE, last_heartbeat=NOW - MISSED_HEARTBEATS * INTERVAL)
NORMAL, MAINTENANCE, SHUTDOWN = Desired(), Desired(maintenance=True), Desired(shutdown=True)


@pytest.mark.parametrize(
    ("desired", "observed", "state"),
    [
        (NORMAL, replace(ALIVE, initialised=False), WorkerState.STARTING),
        (NORMAL, ALIVE, WorkerState.IDLE),
        (NORMAL, replace(ALIVE, jobs_active=1), WorkerState.RUNNING),
        (SHUTDOWN, ALIVE, WorkerState.SHUTDOWN_REQUEST),
        (SHUTDOWN, replace(ALIVE, jobs_active=1), WorkerState.SHUTDOWN_REQUEST),
        (SHUTDOWN, replace(ALIVE, terminating=True), WorkerState.TERMINATING),
        (NORMAL, replace(ALIVE, terminating=True, jobs_active=1), WorkerState.TERMINATING),
        (NORMAL, replace(ALIVE, offline=True), WorkerState.OFFLINE),
        (NORMAL, replace(SILENT, offline=True), WorkerState.OFFLINE),
        (NORMAL, SILENT, WorkerState.UNKNOWN),
        (SHUTDOWN, SILENT, WorkerState.UNKNOWN),
        (NORMAL, Observed(), WorkerState.OFFLINE),
        (MAINTENANCE, ALIVE, WorkerState.MAINTENANCE_REQUEST),
        (MAINTENANCE, replace(ALIVE, jobs_active=1), WorkerState.MAINTENANCE_REQUEST),
        (MAINTENANCE, replace(ALIVE, maintenance_acknowledged=True, jobs_active=1), WorkerState.MAINTENANCE_PENDING),
        (MAINTENANCE, replace(ALIVE, maintenance_acknowledged=True), WorkerState.MAINTENANCE_MODE),
        (NORMAL, replace(ALIVE, maintenance_acknowledged=True), WorkerState.MAINTENANCE_EXIT),
        (MAINTENANCE, SILENT, WorkerState.OFFLINE_MAINTENANCE),
        (MAINTENANCE, replace(ALIVE, offline=True), WorkerState.OFFLINE_MAINTENANCE),
        (Desired(maintenance=True, shutdown=True), ALIVE, WorkerState.SHUTDOWN_REQUEST),
    ],
)
def test_state(desired: Desired, observed: Observed, state: WorkerState) -> None:
    assert worker_state(desired, observed, NOW) is state


def test_a_worker_is_unknown_exactly_when_its_deadline_is_reached() -> None:
    deadline = heartbeat_deadline(ALIVE)
    assert deadline == NOW + 3 * INTERVAL
    assert worker_state(NORMAL, ALIVE, deadline - timedelta(microseconds=1)) is WorkerState.IDLE
    assert worker_state(NORMAL, ALIVE, deadline) is WorkerState.UNKNOWN


def test_every_state_can_be_reached_and_nothing_else_comes_out() -> None:
    flags = (False, True)
    seen = {
        worker_state(
            Desired(maintenance, shutdown),
            Observed(heartbeat, INTERVAL, initialised, jobs, acknowledged, terminating, offline),
            NOW,
        )
        for maintenance, shutdown, heartbeat, initialised, jobs, acknowledged, terminating, offline in product(
            flags, flags, (None, NOW, NOW - timedelta(days=1)), flags, (0, 1), flags, flags, flags
        )
    }
    assert seen == set(WorkerState)


@pytest.mark.parametrize(("desired", "cordoned"), [(NORMAL, False), (MAINTENANCE, True), (SHUTDOWN, True)])
def test_cordon(desired: Desired, cordoned: bool) -> None:
    assert is_cordoned(desired) is cordoned
