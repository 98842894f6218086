"""Condition types and their reasons: each a constant with its meaning; docs/operator.md lists them for users."""

from enum import StrEnum


class Condition(StrEnum):
    """Types of conditions."""

    READY = "Ready"
    """Takes jobs."""
    REGISTERED = "Registered"
    """Is in the fleet."""
    CORDONED = "Cordoned"
    """Is given no new job, on purpose."""
    DRAINED = "Drained"
    """Is cordoned and runs nothing any more."""
    PROGRESSING = "Progressing"
    """The operator is changing something."""


class Reason(StrEnum):
    """Reasons. Those in `WARNING_REASONS` need somebody to act."""

    READY = "Ready"
    """The worker takes jobs."""
    STARTING = "Starting"
    """The worker has connected and is about to take jobs."""
    POD_PENDING = "PodPending"
    """The pod waits for a node, a volume or its image."""
    POD_FAILING = "PodFailing"
    """The pod's container does not stay up, or its image can't be had."""
    POD_MISSING = "PodMissing"
    """No pod is there yet."""
    OFFLINE = "Offline"
    """The worker said good-bye."""
    HEARTBEAT_LOST = "HeartbeatLost"
    """The worker has not been heard of for three heartbeats."""
    CORDONED = "Cordoned"
    """The worker is there and takes no jobs; see the condition Cordoned."""
    SHUT_DOWN = "ShutDown"
    """The worker was shut down through the annotation."""
    INVALID_SPEC = "InvalidSpec"
    """The spec can't be used; the message names the field."""
    INVALID_TEMPLATE = "InvalidTemplate"
    """The apiserver refuses the objects made from the template."""
    NAME_TAKEN = "NameTaken"
    """Another EdgeWorker, or an object that is not ours, has the name."""
    DELETING = "Deleting"
    """The object is being deleted."""

    REGISTERED = "Registered"
    """The worker is in the fleet."""
    NEVER_ENROLLED = "NeverEnrolled"
    """The worker has not joined the fleet yet."""
    EDGE_API_UNREACHABLE = "EdgeApiUnreachable"
    """The edge API does not answer; what is shown may be old."""

    MAINTENANCE = "Maintenance"
    """In maintenance, or on the way into it."""
    SHUTDOWN_REQUESTED = "ShutdownRequested"
    """Asked to shut down."""
    TERMINATING = "Terminating"
    """Drains in order to stop."""
    VERSION_SKEW = "VersionSkew"
    """Its version is outside of what the platform allows."""
    NOT_CORDONED = "NotCordoned"
    """Nothing keeps jobs from it."""
    NOT_REGISTERED = "NotRegistered"
    """The worker is not in the fleet."""

    NO_TASKS = "NoTasksRunning"
    """Nothing runs any more."""
    TASKS_RUNNING = "TasksRunning"
    """Tasks are still running."""

    SETTLED = "Settled"
    """All is as the spec wants it."""
    CREATING = "Creating"
    """Objects are being made, or the pod starts."""
    ROLLING = "Rolling"
    """The pod drains and is then replaced by one of the present template."""
    SCALING = "Scaling"
    """The pool is getting more or fewer workers."""
    CHANGING = "ChangingWorker"
    """A change was sent to the running worker."""
    BLOCKED = "Blocked"
    """The change can't go on; the message, or that of the condition Ready, says why."""
    POOL_READY = "AllReady"
    """As many workers as wanted take jobs."""
    POOL_SHORT = "TooFewReady"
    """Fewer workers than wanted take jobs."""


WARNING_REASONS = frozenset(
    {
        Reason.POD_FAILING,
        Reason.HEARTBEAT_LOST,
        Reason.INVALID_SPEC,
        Reason.INVALID_TEMPLATE,
        Reason.NAME_TAKEN,
        Reason.EDGE_API_UNREACHABLE,
        Reason.VERSION_SKEW,
        Reason.BLOCKED,
    }
)
"""Events about these are warnings."""
