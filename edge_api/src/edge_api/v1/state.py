"""The state words that an edge3 worker (v1) reports and gets back, as pure functions.

On the v1 wire such a worker reports one state word and acts on the word in the answer: `maintenance request`, `idle` or
`running` while it is in maintenance (leave it), `shutdown request`. Here desired and observed state are separate: the
reported word is an observation, and the answer follows from the desired state.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from edge_protocol.limits import COMMENT_MAX
from edge_protocol.worker_state import GONE_STATES, WorkerState

ACKNOWLEDGED: Final = frozenset({WorkerState.MAINTENANCE_PENDING, WorkerState.MAINTENANCE_MODE})
"""Words of a worker that takes no new jobs because it is in maintenance."""
AT_WORK: Final = frozenset({WorkerState.IDLE, WorkerState.RUNNING})


class TaskState(StrEnum):
    """Airflow's `TaskInstanceState`: the values that the path of a state report may have."""

    REMOVED = "removed"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    RESTARTING = "restarting"
    FAILED = "failed"
    UP_FOR_RETRY = "up_for_retry"
    UP_FOR_RESCHEDULE = "up_for_reschedule"
    UPSTREAM_FAILED = "upstream_failed"
    SKIPPED = "skipped"
    DEFERRED = "deferred"
    AWAITING_INPUT = "awaiting_input"


@dataclass(frozen=True, slots=True)
class Before:
    """The stored state of the worker when it calls."""

    maintenance: bool
    """Desired."""
    comment: str | None
    shutdown: bool
    """Desired."""
    acknowledged: bool
    """In maintenance, as of its last call."""
    answered: WorkerState | None
    """The last answer."""
    answered_comment: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer, and the request of the worker's own host that follows from its word."""

    state: WorkerState
    request: Literal["enter", "exit"] | None = None
    comment: str | None = None
    """With `enter`: the comment to store."""


def answer(before: Before, reported: WorkerState, comment: str | None) -> Outcome:
    """Return the outcome of a heartbeat."""
    if reported in GONE_STATES:
        return Outcome(reported)
    if before.shutdown:
        return Outcome(WorkerState.SHUTDOWN_REQUEST)
    if reported is WorkerState.TERMINATING:
        return Outcome(reported)
    return (
        _in_maintenance(before, reported, comment)
        if before.maintenance
        else _not_in_maintenance(before, reported, comment)
    )


def _in_maintenance(before: Before, reported: WorkerState, comment: str | None) -> Outcome:
    if reported in ACKNOWLEDGED:
        if comment and comment not in (before.comment, before.answered_comment):
            return Outcome(reported, "enter", merged(before.comment, comment))
        return Outcome(reported)
    if before.acknowledged and reported in AT_WORK:
        # It was in maintenance and no longer is: its host has ended it.
        return Outcome(reported, "exit")
    return Outcome(WorkerState.MAINTENANCE_REQUEST)


def _not_in_maintenance(before: Before, reported: WorkerState, comment: str | None) -> Outcome:
    if reported not in ACKNOWLEDGED:
        return Outcome(reported)
    if before.acknowledged or before.answered is WorkerState.MAINTENANCE_REQUEST:
        # It follows a request that was cancelled in the meantime.
        return Outcome(WorkerState.RUNNING if reported is WorkerState.MAINTENANCE_PENDING else WorkerState.IDLE)
    return Outcome(reported, "enter", (comment or "")[:COMMENT_MAX] or None)


def merged(old: str | None, new: str) -> str:
    """Return both comments if there is room, else the new one."""
    both = f"{old}\n\n{new}" if old else new
    return both if len(both) <= COMMENT_MAX else new[:COMMENT_MAX]
