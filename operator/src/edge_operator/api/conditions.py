"""Condition types and reasons, and how conditions are written. docs/operator.md lists them for users."""

from datetime import datetime
from enum import StrEnum

from edge_operator.api.types import Obj, timestamp


class Condition(StrEnum):
    """Types of conditions, from the EdgeWorker's point of view; a pool has Ready and Progressing."""

    READY = "Ready"
    """The worker takes jobs."""
    REGISTERED = "Registered"
    """The worker is in the fleet."""
    CORDONED = "Cordoned"
    """The worker is deliberately given no new jobs."""
    DRAINED = "Drained"
    """The worker is cordoned and no task is running."""
    PROGRESSING = "Progressing"
    """The operator is changing something."""


class Reason(StrEnum):
    """Reasons of conditions. Those in `WARNING_REASONS` may need a person to act."""

    READY = "Ready"
    """The worker takes jobs."""
    STARTING = "Starting"
    """The worker has connected and will take jobs shortly."""
    POD_PENDING = "PodPending"
    """The pod is waiting for a node, a volume or its image."""
    POD_FAILING = "PodFailing"
    """The container keeps exiting, or its image can't be pulled."""
    POD_MISSING = "PodMissing"
    """There is no pod yet."""
    OFFLINE = "Offline"
    """The worker has disconnected (bye)."""
    HEARTBEAT_LOST = "HeartbeatLost"
    """The worker has missed three heartbeats."""
    CORDONED = "Cordoned"
    """The worker is connected and takes no jobs; see the condition Cordoned."""
    SHUT_DOWN = "ShutDown"
    """The worker is shut down by the annotation."""
    INVALID_SPEC = "InvalidSpec"
    """The spec is invalid; the message names the field."""
    INVALID_TEMPLATE = "InvalidTemplate"
    """The apiserver refuses an object that the template describes."""
    NAME_TAKEN = "NameTaken"
    """The name belongs to another EdgeWorker or to an object that this operator did not create."""
    OUT_OF_BOUNDS = "OutOfBounds"
    """The operator's settings do not allow the namespace such a worker; the message names the bound."""
    DELETING = "Deleting"
    """The object is being deleted."""

    REGISTERED = "Registered"
    """The worker is in the fleet."""
    NEVER_ENROLLED = "NeverEnrolled"
    """The worker has not joined the fleet yet."""
    EDGE_API_UNREACHABLE = "EdgeApiUnreachable"
    """The edge API does not answer; the status may be out of date."""

    MAINTENANCE = "Maintenance"
    """The worker is in maintenance or entering it."""
    SHUTDOWN_REQUESTED = "ShutdownRequested"
    """The worker was asked to shut down."""
    TERMINATING = "Terminating"
    """The worker is draining and will stop."""
    VERSION_SKEW = "VersionSkew"
    """The platform does not allow the worker's version."""
    NOT_CORDONED = "NotCordoned"
    """The worker is not cordoned."""
    NOT_REGISTERED = "NotRegistered"
    """The worker is not in the fleet."""

    NO_TASKS = "NoTasksRunning"
    """No task is running."""
    TASKS_RUNNING = "TasksRunning"
    """Tasks are still running."""

    UP_TO_DATE = "UpToDate"
    """Everything matches the spec."""
    CREATING = "Creating"
    """Objects are being created, or the pod is starting."""
    ROLLING = "Rolling"
    """Pods drain and are then replaced by pods of the current template."""
    SCALING = "Scaling"
    """The pool is adding or removing workers."""
    CHANGING = "ChangingWorker"
    """A change was sent to the running worker and is not confirmed yet."""
    BLOCKED = "Blocked"
    """The spec can't be carried out; the message, or that of the condition Ready, says why."""
    POOL_READY = "AllReady"
    """At least the desired number of workers take jobs."""
    POOL_SHORT = "TooFewReady"
    """Fewer workers than desired take jobs."""


WARNING_REASONS = frozenset(
    {
        Reason.POD_FAILING,
        Reason.HEARTBEAT_LOST,
        Reason.INVALID_SPEC,
        Reason.INVALID_TEMPLATE,
        Reason.NAME_TAKEN,
        Reason.OUT_OF_BOUNDS,
        Reason.EDGE_API_UNREACHABLE,
        Reason.VERSION_SKEW,
        Reason.BLOCKED,
    }
)
"""Events with these reasons are warnings, unless the condition is True."""


Verdict = tuple[str, Reason, str]
"""Status, reason and message of a condition."""


def with_times(conditions: dict[Condition, Verdict], before: list[Obj], generation: int, now: datetime) -> list[Obj]:
    """Return conditions as Kubernetes writes them; an unchanged status keeps its transition time."""
    known = {condition["type"]: condition for condition in before}
    written = []
    for kind, (status, reason, message) in conditions.items():
        old = known.get(kind.value) or {}
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        written.append(
            {
                "type": kind.value,
                "status": status,
                "reason": reason.value,
                "message": message,
                "lastTransitionTime": since or timestamp(now),
                "observedGeneration": generation,
            }
        )
    return written


def transitions(before: Obj, after: Obj) -> list[Obj]:
    """Return the conditions of a status whose status or reason has changed."""
    known = {item["type"]: (item["status"], item["reason"]) for item in before.get("conditions") or []}
    return [item for item in after["conditions"] if known.get(item["type"]) != (item["status"], item["reason"])]
