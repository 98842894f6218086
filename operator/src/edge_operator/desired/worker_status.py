"""The status of an EdgeWorker: conditions with reasons, and what its worker last told."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from edge_operator.api import names
from edge_operator.api.conditions import Condition, Reason
from edge_operator.api.quantities import timestamp
from edge_operator.api.types import EdgeWorker, Obj
from edge_operator.desired.fleet_changes import live
from edge_operator.desired.observed_pod import PodView, pod_reason
from edge_protocol.admin import ReasonCode, WorkerView
from edge_protocol.worker_state import WorkerState

MINOR_FIELDS = ("state", "jobsActive", "freeSlots", "slots", "lastHeartbeatTime")
"""What changes with every task. A status that differs in these alone is not written at once."""

_CORDON_REASONS = {
    ReasonCode.MAINTENANCE: Reason.MAINTENANCE,
    ReasonCode.SHUTDOWN: Reason.SHUTDOWN_REQUESTED,
    ReasonCode.TERMINATING: Reason.TERMINATING,
    ReasonCode.VERSION: Reason.VERSION_SKEW,
}


UNANSWERED = frozenset({WorkerState.MAINTENANCE_REQUEST, WorkerState.SHUTDOWN_REQUEST})
"""States in which what the worker said of its tasks may be older than the request."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What a status is made from."""

    worker: EdgeWorker
    view: WorkerView | None
    fleet_known: bool
    fleet_fresh: bool
    """The edge API answers, or has not been silent for long."""
    arrived: bool
    """The view is about the pod that is there now, and not about one that was replaced."""
    pods: list[PodView]
    problem: tuple[Reason, str] | None
    """Why the spec can't be carried out."""
    progressing: tuple[Reason, str] | None
    """What the operator is about."""
    blocked: str | None
    """What the apiserver refuses that concerns the objects of the worker, in words; it is tried again."""
    extra: Obj
    """Fields that are written as they are: requestedMaintenance, joinTokenSecret, templateHash, …; None removes one."""
    now: datetime


def worker_status(seen: Observed) -> Obj:
    """Return the whole status; conditions keep their time while their status stays."""
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


Verdict = tuple[str, Reason, str]
"""(status, reason, message) of a condition."""


def _ready(seen: Observed) -> Verdict:
    if seen.worker.meta.deleted_at is not None:
        return "False", Reason.DELETING, "The object is being deleted."
    if seen.problem is not None:
        return "False", *seen.problem
    if not seen.fleet_fresh:
        return "Unknown", Reason.EDGE_API_UNREACHABLE, "The edge API does not answer."
    if live(seen.view) and not _pod_gone(seen):
        return _ready_live(seen)
    return _managed_away(seen) or _away(seen.view)


def _managed_away(seen: Observed) -> Verdict | None:
    """Return why a managed worker is not there, as far as its pod tells."""
    if not seen.worker.managed:
        return None
    if names.SHUTDOWN in seen.worker.meta.annotations:
        return "False", Reason.SHUT_DOWN, f"Shut down by the annotation {names.SHUTDOWN}."
    reason = pod_reason(seen.pods)
    if reason is not None:
        return "False", *reason
    if not seen.arrived:
        return "False", Reason.STARTING, "The pod has started and is about to join the fleet."
    return None


def _away(view: WorkerView | None) -> Verdict:
    """Return why a worker is not there, as far as the fleet tells."""
    if view is None:
        return "False", Reason.NEVER_ENROLLED, "The worker has not joined the fleet yet."
    if view.state is WorkerState.OFFLINE:
        return "False", Reason.OFFLINE, "The worker said good-bye."
    return "False", Reason.HEARTBEAT_LOST, "The worker has not been heard of for three heartbeats."


def _pod_gone(seen: Observed) -> bool:
    """Return whether a managed worker can't be there any more, though the fleet has not noticed yet."""
    if not seen.worker.managed or any(pod.terminating for pod in seen.pods):
        return False
    if not seen.arrived:
        return True
    return pod_reason(seen.pods) is not None


def _ready_live(seen: Observed) -> Verdict:
    cordon = cordon_reason(seen.view)
    if cordon is not None:
        return "False", Reason.CORDONED, cordon[1]
    if seen.view is not None and seen.view.state is WorkerState.STARTING:
        return "False", Reason.STARTING, "The worker has connected and is about to take jobs."
    return "True", Reason.READY, "The worker takes jobs."


def cordon_reason(view: WorkerView | None) -> tuple[Reason, str] | None:
    """Return why the worker is given no job on purpose, or None."""
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
    if seen.problem is not None and seen.problem[0] is Reason.NAME_TAKEN:
        return "False", *seen.problem
    if seen.view is None:
        return "False", Reason.NEVER_ENROLLED, "The worker has not joined the fleet yet."
    return "True", Reason.REGISTERED, f"Worker {seen.view.name} is in the fleet."


def _cordoned(seen: Observed) -> Verdict:
    if seen.view is None:
        return "Unknown", Reason.NOT_REGISTERED, "The worker is not in the fleet."
    cordon = cordon_reason(seen.view)
    if cordon is not None:
        return "True", *cordon
    return "False", Reason.NOT_CORDONED, "Nothing keeps jobs from the worker."


def _drained(seen: Observed) -> Verdict:
    if seen.view is None:
        return "Unknown", Reason.NOT_REGISTERED, "The worker is not in the fleet."
    if live(seen.view) and cordon_reason(seen.view) is None:
        return "False", Reason.NOT_CORDONED, "Nothing keeps jobs from the worker."
    if seen.view.jobs_active:
        return "False", Reason.TASKS_RUNNING, "Tasks are still running."
    if seen.view.state in UNANSWERED:
        return "False", Reason.TASKS_RUNNING, "The worker has not answered yet; a task may have started just before."
    return "True", Reason.NO_TASKS, "Nothing runs any more."


def _progressing(seen: Observed) -> Verdict:
    if seen.progressing is not None:
        return "True", *seen.progressing
    if seen.problem is not None:
        return "False", Reason.BLOCKED, "The spec can't be carried out; see the condition Ready."
    if seen.blocked is not None:
        return "False", Reason.BLOCKED, seen.blocked
    return "False", Reason.SETTLED, "All is as the spec wants it."


def with_times(
    conditions: dict[Condition, Verdict], before: list[dict[str, Any]], generation: int, now: datetime
) -> list[Obj]:
    """Return conditions as Kubernetes writes them, with the time at which their status last changed."""
    known = {condition["type"]: condition for condition in before}
    made = []
    for kind, (status, reason, message) in conditions.items():
        old = known.get(kind.value) or {}
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        made.append(
            {
                "type": kind.value,
                "status": status,
                "reason": reason.value,
                "message": message,
                "lastTransitionTime": since or timestamp(now),
                "observedGeneration": generation,
            }
        )
    return made


def transitions(before: Obj, after: Obj) -> list[Obj]:
    """Return the conditions whose status or reason is another than before."""
    known = {item["type"]: (item["status"], item["reason"]) for item in before.get("conditions") or []}
    return [item for item in after["conditions"] if known.get(item["type"]) != (item["status"], item["reason"])]


def differs(before: Obj, after: Obj, heartbeat_refresh: timedelta) -> bool:
    """Return whether a status has to be written. A later heartbeat alone counts only after `heartbeat_refresh`."""
    plain = {key: value for key, value in before.items() if key != "lastHeartbeatTime"}
    if plain != {key: value for key, value in after.items() if key != "lastHeartbeatTime"}:
        return True
    old, new = before.get("lastHeartbeatTime"), after.get("lastHeartbeatTime")
    if old is None or new is None:
        return old != new
    return datetime.fromisoformat(new) - datetime.fromisoformat(old) >= heartbeat_refresh


def minor(before: Obj, after: Obj) -> bool:
    """Return whether only what changes with every task is different."""
    busy = {WorkerState.IDLE.value, WorkerState.RUNNING.value}
    if before.get("state") != after.get("state") and not {before.get("state"), after.get("state")} <= busy:
        return False
    keys = (before.keys() | after.keys()) - set(MINOR_FIELDS)
    return all(before.get(key) == after.get(key) for key in keys)
