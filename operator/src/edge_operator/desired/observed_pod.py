"""What the pods of a worker say about it, in few words."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_operator.api import names
from edge_operator.api.conditions import Reason
from edge_operator.api.quantities import read_timestamp
from edge_operator.api.types import Obj
from edge_operator.desired.fleet_changes import live
from edge_protocol.admin import WorkerView

_CRASHING = "CrashLoopBackOff"
_FAILING = frozenset(
    {
        _CRASHING,
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)

LINE_MAX = 300
"""Characters of a message that are told on."""
STUCK_MARGIN = timedelta(seconds=60)
"""After its grace a pod is stopped by its node; one that is still there so much later has no node to do that."""
SILENCE_MARGIN = timedelta(seconds=90)
"""A worker that was silent for so long is lost to the fleet and so are its tasks: nothing is left to wait for."""


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod."""

    name: str
    uid: str
    node: str | None
    template_hash: str | None
    phase: str
    terminating: bool
    stop_time: datetime | None
    """When it was told to stop."""
    kill_time: datetime | None
    """When its node is to have stopped it."""
    running: bool
    """Its worker container runs."""
    problem: str | None
    """Why it does not come up, in the cluster's own words."""
    failing: bool
    """The problem will not go away by waiting."""


def read_pod(pod: Obj) -> PodView:
    """Return what matters of a pod."""
    meta, status = pod["metadata"], pod.get("status") or {}
    kill_time = read_timestamp(meta.get("deletionTimestamp"))
    grace = timedelta(seconds=meta.get("deletionGracePeriodSeconds") or 0)
    phase = status.get("phase", "Pending")
    container = _container(status)
    failing, problem = _problem(status, container)
    return PodView(
        name=meta["name"],
        uid=meta["uid"],
        node=(pod.get("spec") or {}).get("nodeName"),
        template_hash=(meta.get("annotations") or {}).get(names.HASH_ANNOTATION),
        phase=phase,
        terminating=kill_time is not None,
        stop_time=kill_time - grace if kill_time is not None else None,
        kill_time=kill_time,
        running=phase == "Running" and "running" in container.state,
        problem=problem,
        failing=failing,
    )


def abandoned(pod: PodView, view: WorkerView | None, now: datetime, *, fleet_fresh: bool) -> bool:
    """Return whether nobody will end a pod that was told to stop, so that only a forced deletion removes it.

    That is so when its whole grace has passed, or, on a node that is lost with an hour of grace ahead, when the worker
    in it is not there any more. The edge API has fenced it: should it come back, it has nothing to report to.
    """
    if pod.kill_time is None or pod.stop_time is None or live(view):
        return False
    if now >= pod.kill_time + STUCK_MARGIN:
        return True
    heard = view.last_heartbeat if view is not None else pod.stop_time
    return fleet_fresh and now >= max(heard, pod.stop_time) + SILENCE_MARGIN


def pod_reason(pods: list[PodView]) -> tuple[Reason, str] | None:
    """Return why no worker can be expected to run, or None where a pod runs."""
    alive = [pod for pod in pods if not pod.terminating]
    if not alive:
        return Reason.POD_MISSING, "No pod is there yet."
    pod = alive[0]
    if pod.failing:
        return Reason.POD_FAILING, f"Pod {pod.name}: {pod.problem}"
    if pod.running:
        return None
    return Reason.POD_PENDING, f"Pod {pod.name}: {pod.problem or 'is starting.'}"


@dataclass(frozen=True, slots=True)
class _Container:
    state: Obj
    last_words: str
    """What it said last before it went, if it went with an error."""


def _container(status: Obj) -> _Container:
    for container in status.get("containerStatuses") or []:
        if container.get("name") == names.WORKER_CONTAINER:
            ended = (container.get("lastState") or {}).get("terminated") or {}
            return _Container(container.get("state") or {}, _last_line(ended.get("message")))
    return _Container({}, "")


def _problem(status: Obj, container: _Container) -> tuple[bool, str | None]:
    if status.get("phase") == "Failed":
        reason, message = status.get("reason") or "Failed", status.get("message") or "the pod has failed"
        return True, f"{reason}: {message}"
    waiting = container.state.get("waiting") or {}
    if waiting.get("reason") in _FAILING:
        last_words = container.last_words if waiting["reason"] == _CRASHING else ""
        said = last_words or _first_line(waiting.get("message")) or "see kubectl describe pod"
        return True, f"{waiting['reason']}: {said}"
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return False, f"{condition.get('reason')}: {_first_line(condition.get('message'))}"
    return False, None


def _first_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[0][:LINE_MAX] if lines else ""


def _last_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[-1][:LINE_MAX] if lines else ""
