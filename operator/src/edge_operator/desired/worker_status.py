"""The status of an EdgeWorker: conditions with reasons, and what its worker last reported."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edge_operator.api import names
from edge_operator.api.conditions import Condition, Reason, Verdict, with_times
from edge_operator.api.types import EdgeWorker, Obj, timestamp
from edge_operator.desired.fleet_changes import live
from edge_operator.desired.observed_pod import ObservedPod, pod_reason, restart_reason
from edge_protocol.admin import ReasonCode, WorkerView
from edge_protocol.worker_state import WorkerState

MINOR_FIELDS = ("state", "jobsActive", "freeSlots", "slots", "lastHeartbeatTime")
"""Fields that change with every task. A status that differs only in these is not written at once."""

_CORDON_REASONS = {
    ReasonCode.MAINTENANCE: Reason.MAINTENANCE,
    ReasonCode.SHUTDOWN: Reason.SHUTDOWN_REQUESTED,
    ReasonCode.TERMINATING: Reason.TERMINATING,
    ReasonCode.VERSION: Reason.VERSION_SKEW,
}

UNANSWERED = frozenset({WorkerState.MAINTENANCE_REQUEST, WorkerState.SHUTDOWN_REQUEST})
"""States in which the worker's last report of its tasks may be older than the request."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that a status is made from."""

    worker: EdgeWorker
    view: WorkerView | None
    fleet_known: bool
    """The fleet has been read since the operator started, so a missing view means a missing worker."""
    fleet_fresh: bool
    """The edge API answers, or has been silent only for a short time."""
    view_is_of_pod: bool
    """The view is about the current pod, not about one that was replaced; True for External workers."""
    pods: list[ObservedPod]
    now: datetime
    problem: tuple[Reason, str] | None = None
    """Why the spec can't be carried out: reason and message of the condition Ready."""
    rolling: str | None = None
    """Which pod is being replaced, as a message."""
    blocked: str | None = None
    """The change of the worker's objects that the apiserver refuses, as a message; it is retried."""
    change_sent: bool = False
    """A change was sent to the edge API and the view does not show it yet."""
    deleting: str | None = None
    """The step of the deletion that is being carried out, as a message."""
    extra: Obj = field(default_factory=dict)
    """Fields that are written as given: requestedMaintenance, joinTokenSecret, templateHash, …; None removes one."""


def worker_status(seen: Observed) -> Obj:
    """Return the whole status."""
    view, worker = seen.view, seen.worker
    status: Obj = {"observedGeneration": worker.meta.generation, "workerName": worker.worker_name}
    if view is not None:
        status |= _from_view(view)
    elif seen.fleet_known:
        status["state"] = "not registered"
    status |= {key: value for key, value in seen.extra.items() if value is not None}
    conditions = {
        Condition.READY: _ready(seen),
        Condition.REGISTERED: _registered(seen),
        Condition.CORDONED: _cordoned(seen),
        Condition.DRAINED: _drained(seen),
        Condition.PROGRESSING: _progressing(seen),
    }
    status["conditions"] = with_times(
        conditions, worker.status.get("conditions") or [], worker.meta.generation, seen.now
    )
    return status


def _from_view(view: WorkerView) -> Obj:
    part: Obj = {
        "state": view.state.value,
        "queues": view.queues,
        "concurrency": view.concurrency,
        "jobsActive": view.jobs_active,
        "freeSlots": view.slots_free,
        "slots": f"{view.slots_used}/{view.concurrency}",
        "lastHeartbeatTime": timestamp(view.last_heartbeat),
        "versions": {"worker": view.versions.worker, "airflow": view.versions.airflow},
    }
    part["versions"] = {key: value for key, value in part["versions"].items() if value}
    if view.maintenance is not None:
        given = {"comment": view.maintenance.comment, "by": view.maintenance.by}
        part["maintenance"] = {key: value for key, value in given.items() if value is not None}
        if view.maintenance.at is not None:
            part["maintenance"]["since"] = timestamp(view.maintenance.at)
    return part


def _ready(seen: Observed) -> Verdict:
    if seen.worker.meta.deleted_at is not None:
        return "False", Reason.DELETING, "The object is being deleted."
    if seen.problem is not None:
        return "False", *seen.problem
    if not seen.fleet_fresh:
        return "Unknown", Reason.EDGE_API_UNREACHABLE, "The edge API does not answer."
    if live(seen.view) and not _pod_gone(seen):
        return _ready_live(seen)
    return _managed_gone(seen) or _gone(seen.view)


def _managed_gone(seen: Observed) -> Verdict | None:
    """Return why a Managed worker is gone, as far as its pod shows it."""
    if not seen.worker.managed:
        return None
    if names.SHUTDOWN in seen.worker.meta.annotations:
        return "False", Reason.SHUT_DOWN, f"Shut down by the annotation {names.SHUTDOWN}."
    reason = pod_reason(seen.pods)
    if reason is None and seen.view is None:
        reason = restart_reason(seen.pods)
    if reason is not None:
        return "False", *reason
    if not seen.view_is_of_pod:
        return "False", Reason.STARTING, "The pod has started; its worker will join the fleet shortly."
    return None


def _gone(view: WorkerView | None) -> Verdict:
    """Return why a worker is gone, as far as the fleet shows it."""
    if view is None:
        return "False", Reason.NEVER_ENROLLED, "The worker has not joined the fleet yet."
    if view.state is WorkerState.OFFLINE:
        return "False", Reason.OFFLINE, "The worker has disconnected."
    if view.jobs_kept_until is None:
        return "False", Reason.HEARTBEAT_LOST, "The worker has missed three heartbeats."
    since, kept = timestamp(view.last_heartbeat), timestamp(view.jobs_kept_until)
    tasks = f"{view.jobs_active} running task{'s are' if view.jobs_active != 1 else ' is'}"
    return "False", Reason.HEARTBEAT_LOST, f"The worker is out of contact since {since}; {tasks} kept until {kept}."


def _pod_gone(seen: Observed) -> bool:
    """Return whether a Managed worker has lost its pod although the fleet does not know it yet."""
    if not seen.worker.managed or any(pod.terminating for pod in seen.pods):
        return False
    if not seen.view_is_of_pod:
        return True
    return pod_reason(seen.pods) is not None


def _ready_live(seen: Observed) -> Verdict:
    cordon = cordon_reason(seen.view)
    if cordon is not None:
        return "False", Reason.CORDONED, cordon[1]
    if seen.view is not None and seen.view.state is WorkerState.STARTING:
        return "False", Reason.STARTING, "The worker has connected and will take jobs shortly."
    return "True", Reason.READY, "The worker takes jobs."


def cordon_reason(view: WorkerView | None) -> tuple[Reason, str] | None:
    """Return why the worker is cordoned, or None if it is not."""
    if view is None:
        return None
    for reason in view.cordon.reasons:
        known = _CORDON_REASONS.get(reason.code)
        if known is not None:
            return known, reason.message
    return None


def _registered(seen: Observed) -> Verdict:
    if not seen.fleet_fresh or not seen.fleet_known:
        return "Unknown", Reason.EDGE_API_UNREACHABLE, "The edge API does not answer."
    if seen.view is not None:
        return "True", Reason.REGISTERED, f"Worker {seen.view.name} is in the fleet."
    if seen.problem is not None and seen.problem[0] in (Reason.NAME_TAKEN, Reason.OUT_OF_BOUNDS):
        return "False", *seen.problem
    return "False", Reason.NEVER_ENROLLED, "The worker has not joined the fleet yet."


def _cordoned(seen: Observed) -> Verdict:
    if seen.view is None:
        return "Unknown", Reason.NOT_REGISTERED, "The worker is not in the fleet."
    cordon = cordon_reason(seen.view)
    if cordon is not None:
        return "True", *cordon
    return "False", Reason.NOT_CORDONED, "The worker is not cordoned."


def _drained(seen: Observed) -> Verdict:
    if seen.view is None:
        return "Unknown", Reason.NOT_REGISTERED, "The worker is not in the fleet."
    if live(seen.view) and cordon_reason(seen.view) is None:
        return "False", Reason.NOT_CORDONED, "The worker is not cordoned."
    if seen.view.jobs_active:
        return "False", Reason.TASKS_RUNNING, "Tasks are still running."
    if seen.view.state in UNANSWERED:
        return (
            "False",
            Reason.TASKS_RUNNING,
            "The worker has not confirmed the request yet; a task may have started just before it.",
        )
    return "True", Reason.NO_TASKS, "No task is running."


def _progressing(seen: Observed) -> Verdict:
    if seen.deleting is not None:
        return "True", Reason.DELETING, seen.deleting
    if seen.rolling is not None:
        return "True", Reason.ROLLING, seen.rolling
    if seen.problem is None and seen.blocked is None and _starting(seen):
        return "True", Reason.CREATING, "The pod starts and joins the fleet."
    if seen.blocked is not None:
        return "False", Reason.BLOCKED, seen.blocked
    if seen.change_sent:
        return "True", Reason.CHANGING, "A change was sent to the worker."
    if seen.problem is not None:
        return "False", Reason.BLOCKED, "The spec can't be carried out; see the condition Ready."
    return "False", Reason.UP_TO_DATE, "Everything matches the spec."


def _starting(seen: Observed) -> bool:
    """Return whether the worker of a Managed EdgeWorker is still to come."""
    if not seen.worker.managed or names.SHUTDOWN in seen.worker.meta.annotations:
        return False
    return not seen.view_is_of_pod or not live(seen.view) or pod_reason(seen.pods) is not None


def differs(before: Obj, after: Obj, heartbeat_refresh: timedelta) -> bool:
    """Return whether a status must be written. A later heartbeat alone counts only after `heartbeat_refresh`."""
    plain = {key: value for key, value in before.items() if key != "lastHeartbeatTime"}
    if plain != {key: value for key, value in after.items() if key != "lastHeartbeatTime"}:
        return True
    old, new = before.get("lastHeartbeatTime"), after.get("lastHeartbeatTime")
    if old is None or new is None:
        return old != new
    return datetime.fromisoformat(new) - datetime.fromisoformat(old) >= heartbeat_refresh


def minor(before: Obj, after: Obj) -> bool:
    """Return whether only fields differ that change with every task."""
    busy = {WorkerState.IDLE.value, WorkerState.RUNNING.value}
    if before.get("state") != after.get("state") and not {before.get("state"), after.get("state")} <= busy:
        return False
    keys = (before.keys() | after.keys()) - set(MINOR_FIELDS)
    return all(before.get(key) == after.get(key) for key in keys)
