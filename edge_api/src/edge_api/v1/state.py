"""What a v1 worker tells and is answered, as pure functions.

On the v1 wire (Airflow's edge3 provider) a worker reports one state word and acts on the one that it is answered:
`maintenance request`, `idle` or `running` while it is in maintenance (leave it), `shutdown request`. Here what is
desired and what is observed are apart: its word is an observation, and the answer follows from what is desired.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from edge_protocol.limits import COMMENT_MAX
from edge_protocol.worker_state import GONE_STATES, WorkerState

ACKNOWLEDGED: Final = frozenset({WorkerState.MAINTENANCE_PENDING, WorkerState.MAINTENANCE_MODE})
"""Words of a worker that takes no new jobs since it is in maintenance."""
AT_WORK: Final = frozenset({WorkerState.IDLE, WorkerState.RUNNING})


class TaskState(StrEnum):
    """Airflow's `TaskInstanceState`: what the path of a state report may hold."""

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
    """What is stored of the worker when it calls."""

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
    """The answer, and what the worker's host wishes for by what it told."""

    state: WorkerState
    wish: Literal["enter", "exit"] | None = None
    comment: str | None = None
    """With `enter`: the comment to store."""


def settle(before: Before, told: WorkerState, comment: str | None) -> Outcome:
    """Return what a heartbeat of a v1 worker means."""
    if told in GONE_STATES:
        return Outcome(told)
    if before.shutdown:
        return Outcome(WorkerState.SHUTDOWN_REQUEST)
    if told is WorkerState.TERMINATING:
        return Outcome(told)
    return _wished(before, told, comment) if before.maintenance else _not_wished(before, told, comment)


def _wished(before: Before, told: WorkerState, comment: str | None) -> Outcome:
    if told in ACKNOWLEDGED:
        if comment and comment not in (before.comment, before.answered_comment):
            return Outcome(told, "enter", merged(before.comment, comment))
        return Outcome(told)
    if before.acknowledged and told in AT_WORK:
        # It was in maintenance and is not any more: its host has ended it.
        return Outcome(told, "exit")
    return Outcome(WorkerState.MAINTENANCE_REQUEST)


def _not_wished(before: Before, told: WorkerState, comment: str | None) -> Outcome:
    if told not in ACKNOWLEDGED:
        return Outcome(told)
    if before.acknowledged or before.answered is WorkerState.MAINTENANCE_REQUEST:
        # It follows a request that was taken back since.
        return Outcome(WorkerState.RUNNING if told is WorkerState.MAINTENANCE_PENDING else WorkerState.IDLE)
    return Outcome(told, "enter", (comment or "")[:COMMENT_MAX] or None)


def merged(old: str | None, new: str) -> str:
    """Return both comments if there is room, else the new one."""
    both = f"{old}\n\n{new}" if old else new
    return both if len(both) <= COMMENT_MAX else new[:COMMENT_MAX]
