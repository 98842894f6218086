"""The observed state of a worker's pod, and what it says about the worker."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_operator.api import names
from edge_operator.api.conditions import Reason
from edge_operator.api.types import Obj, read_timestamp
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
"""Characters of a message that are copied into a condition."""
STUCK_MARGIN = timedelta(seconds=60)
"""The node of a pod that still exists this long after its grace period is not there to stop it."""
SILENCE_MARGIN = timedelta(seconds=90)
"""After this long without a heartbeat the fleet counts a worker and its tasks as lost: nothing is left to wait for."""


@dataclass(frozen=True, slots=True)
class ObservedPod:
    """The parts of a pod that the operator uses."""

    name: str
    uid: str
    node: str | None
    template_hash: str | None
    phase: str
    terminating: bool
    stop_time: datetime | None
    """When its deletion was requested."""
    kill_time: datetime | None
    """When its grace period ends."""
    running: bool
    """Its worker container is running."""
    problem: str | None
    """Why it does not start, as the cluster reports it."""
    failing: bool
    """The problem will not be solved by waiting."""
    last_failure: str | None
    """How the container failed before its latest start, if it did."""


def read_pod(pod: Obj) -> ObservedPod:
    """Return the observed state of a pod."""
    meta, status = pod["metadata"], pod.get("status") or {}
    kill_time = read_timestamp(meta.get("deletionTimestamp"))
    grace = timedelta(seconds=meta.get("deletionGracePeriodSeconds") or 0)
    phase = status.get("phase", "Pending")
    container = _container(status)
    failing, problem = _problem(status, container)
    return ObservedPod(
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
        last_failure=_failure(container.last_exit),
    )


def abandoned(pod: ObservedPod, view: WorkerView | None, now: datetime, *, fleet_fresh: bool) -> bool:
    """Return whether a terminating pod's node is lost, so that only a forced deletion removes the pod.

    That is the case when the whole grace period has passed. It is also the case earlier, with most of the grace period
    left, when the worker in the pod is gone: the edge API has fenced it, so it can't report anything if it comes back.
    """
    if pod.kill_time is None or pod.stop_time is None or live(view):
        return False
    if now >= pod.kill_time + STUCK_MARGIN:
        return True
    heard = view.last_heartbeat if view is not None else pod.stop_time
    return fleet_fresh and now >= max(heard, pod.stop_time) + SILENCE_MARGIN


@dataclass(frozen=True, slots=True)
class PodHistory:
    """Decides whether the fleet's view of a worker is about its current pod, from the pods that this operator has seen.

    Clocks are not compared: that of a node may be wrong.
    """

    pod_uid: str | None = None
    """The worker's pod as last seen."""
    departed_revision: int = -1
    """Revision of the view when the last pod was gone: up to this revision the view is about that pod."""

    def after(self, pods: list[ObservedPod], view: WorkerView | None) -> "PodHistory":
        """Return the history with the pods that exist now."""
        pod_uid = pods[0].uid if pods else None
        if view is None or self.pod_uid in (None, pod_uid):
            return PodHistory(pod_uid, self.departed_revision)
        return PodHistory(pod_uid, view.revision if live(view) else -1)

    def is_current(self, view: WorkerView | None) -> bool:
        """Return whether the view is about the pod that exists now."""
        return view is None or view.revision > self.departed_revision


def pod_reason(pods: list[ObservedPod]) -> tuple[Reason, str] | None:
    """Return why no worker can be running, or None if a pod is running."""
    alive = [pod for pod in pods if not pod.terminating]
    if not alive:
        return Reason.POD_MISSING, "There is no pod yet."
    pod = alive[0]
    if pod.failing:
        return Reason.POD_FAILING, f"Pod {pod.name}: {pod.problem}"
    if pod.running:
        return None
    return Reason.POD_PENDING, f"Pod {pod.name}: {pod.problem or 'is starting.'}"


def restart_reason(pods: list[ObservedPod]) -> tuple[Reason, str] | None:
    """Return why the running container had to be started again, or None if it was not.

    A container that can't join the fleet runs for seconds between its failures; its EdgeWorker shows one reason all the
    time.
    """
    for pod in pods:
        if not pod.terminating and pod.running and pod.last_failure is not None:
            return Reason.POD_FAILING, f"Pod {pod.name}: {pod.last_failure}"
    return None


@dataclass(frozen=True, slots=True)
class _Container:
    state: Obj
    last_exit: Obj
    """Its exit before its latest start; empty if it has started only once."""


def _container(status: Obj) -> _Container:
    for container in status.get("containerStatuses") or []:
        if container.get("name") == names.WORKER_CONTAINER:
            last_exit = (container.get("lastState") or {}).get("terminated") or {}
            return _Container(container.get("state") or {}, last_exit)
    return _Container({}, {})


def _problem(status: Obj, container: _Container) -> tuple[bool, str | None]:
    if status.get("phase") == "Failed":
        reason, message = status.get("reason") or "Failed", status.get("message") or "the pod has failed"
        return True, f"{reason}: {message}"
    waiting = container.state.get("waiting") or {}
    if waiting.get("reason") in _FAILING:
        exit_message = _last_line(container.last_exit.get("message")) if waiting["reason"] == _CRASHING else ""
        message = exit_message or _first_line(waiting.get("message")) or "see kubectl describe pod"
        return True, f"{waiting['reason']}: {message}"
    failure = _failure(container.state.get("terminated") or {})
    if failure is not None:
        return True, failure
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return False, f"{condition.get('reason')}: {_first_line(condition.get('message'))}"
    return False, None


def _failure(terminated: Obj) -> str | None:
    """Return how a container failed, from its state `terminated`; None if it did not fail."""
    if not terminated.get("exitCode"):
        return None
    message = _last_line(terminated.get("message")) or f"exit code {terminated['exitCode']}"
    return f"{terminated.get('reason') or 'Error'}: {message}"


def _first_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[0][:LINE_MAX] if lines else ""


def _last_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[-1][:LINE_MAX] if lines else ""
