"""The next step of deleting an EdgeWorker. Every wait has an end, and what could not be done is named.

    stop the worker -> it drains -> out of the fleet -> finalizer off

The waits end at `deadline`, at once with the force-delete annotation, and, where the edge API is needed, after it was
unreachable for a while.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edge_operator.api import names
from edge_operator.api.types import EdgeWorker
from edge_operator.desired.fleet_changes import live
from edge_operator.desired.observed_pod import PodView, abandoned
from edge_protocol.admin import WorkerView
from edge_protocol.worker_state import WorkerState

DRAIN_DEFAULT_S = 3600
REMOVAL_MARGIN = timedelta(seconds=90)
"""After the drain: a worker that vanished without a word becomes unknown (30 s), and calls may have to be repeated."""
FORCED_PATIENCE = timedelta(seconds=10)
"""A forced deletion waits no longer for an edge API that is away."""
REMOVAL_PATIENCE = timedelta(seconds=45)
"""So long the edge API is asked again to remove a worker that it still takes for alive, even in a forced deletion."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when the next step is chosen."""

    worker: EdgeWorker
    view: WorkerView | None
    owns_name: bool
    """No other EdgeWorker claims the worker: then the fleet's record is left alone."""
    fleet_known: bool
    """The fleet was read since the operator started, so a missing view means a missing worker."""
    unreachable_since: datetime | None
    """Since when the edge API does not answer."""
    api_patience: timedelta
    stop_margin: timedelta
    """Time on top of the drain timeout in which a worker stops."""
    pods: list[PodView]
    replicas: int | None
    """Of the StatefulSet; None: there is none."""
    progress: "Progress"
    now: datetime


@dataclass(slots=True)
class Progress:
    """What was tried. Kept in memory only: an operator that restarts tries again, which does no harm."""

    killed: set[str] = field(default_factory=set)
    """uids of pods that were deleted without waiting for their node."""
    revoked: bool = False
    removal_since: datetime | None = None
    """When the removal from the fleet was first tried."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now. Several may be set; `finish` is set alone."""

    stop_pods: bool = False
    """Set the StatefulSet to no replicas."""
    kill_pods: list[PodView] = field(default_factory=list)
    """Pods to delete without waiting for their node."""
    request_shutdown: bool = False
    revoke: bool = False
    """Revoke the worker's credentials and its join token."""
    remove: bool = False
    """Remove the worker from the fleet."""
    finish: bool = False
    leaks: list[str] = field(default_factory=list)
    """With `finish`: what could not be cleaned, in words."""
    message: str = ""
    wait: timedelta = timedelta(seconds=2)
    """Look again after this time, if nothing happens before."""


def deadline(worker: EdgeWorker, stop_margin: timedelta) -> datetime:
    """Return when a deletion no longer waits for tasks. Read from the object, so a restart of the operator keeps it."""
    if worker.meta.deleted_at is None:
        raise ValueError(f"EdgeWorker {worker.meta.name} is not being deleted")
    drain = worker.raw_spec.get("drainTimeoutSeconds", DRAIN_DEFAULT_S)
    return worker.meta.deleted_at + timedelta(seconds=drain) + stop_margin


def next_step(now_is: Situation) -> Step:
    """Return the next step."""
    forced = names.FORCE_DELETE in now_is.worker.meta.annotations
    end = deadline(now_is.worker, now_is.stop_margin)
    late = forced or now_is.now >= end
    over = now_is.now >= end + REMOVAL_MARGIN
    if now_is.worker.managed:
        step = _pods_step(now_is, late=late, over=forced or over)
        if step is not None:
            return step
    leaks = [f"pod {pod.name} on node {pod.node or 'none'}" for pod in now_is.pods if now_is.worker.managed]
    if not now_is.owns_name:
        return Step(finish=True, leaks=leaks)
    if _gave_up_on_api(now_is, forced=forced):
        return Step(finish=True, leaks=[*leaks, *_fleet_leaks(now_is)])
    if not now_is.fleet_known or now_is.unreachable_since is not None:
        return Step(message="Waiting for the edge API to answer.")
    return _fleet_step(now_is, leaks, late=late)


def _pods_step(now_is: Situation, *, late: bool, over: bool) -> Step | None:
    """Return what is left to do about pods, or None when they are gone or given up."""
    if now_is.replicas:
        return Step(stop_pods=True, wait=timedelta(0), message="Stopping the pod; running tasks may end first.")
    if not now_is.pods:
        return None
    fresh = now_is.fleet_known and now_is.unreachable_since is None
    lost = [pod for pod in now_is.pods if late or abandoned(pod, now_is.view, now_is.now, fleet_fresh=fresh)]
    doomed = [pod for pod in lost if pod.uid not in now_is.progress.killed]
    if doomed:
        return Step(kill_pods=doomed, wait=timedelta(0), message="Removing a pod whose node does not stop it.")
    return None if over else Step(message=f"Waiting for pod {now_is.pods[0].name} to end its tasks.")


def _fleet_step(now_is: Situation, leaks: list[str], *, late: bool) -> Step:
    view, since = now_is.view, now_is.progress.removal_since
    if not now_is.worker.managed and live(view) and not late:
        leaving = view is not None and (view.shutdown or view.state is WorkerState.TERMINATING)
        return Step(request_shutdown=not leaving, message="Waiting for the worker to end its tasks and stop.")
    if not now_is.progress.revoked:
        # Before the removal: a worker that is cut off from its site can't come back with its old credential.
        return Step(revoke=True, wait=timedelta(0), message="Revoking the worker's identity.")
    if view is None:
        return Step(finish=True, leaks=leaks)
    if since is not None and now_is.now >= since + REMOVAL_PATIENCE:
        return Step(finish=True, leaks=[*leaks, *_fleet_leaks(now_is)])
    return Step(remove=True, message="Removing the worker from the fleet.")


def _gave_up_on_api(now_is: Situation, *, forced: bool) -> bool:
    """Return whether the edge API was unreachable for too long, counted from when it was first needed."""
    deleted = now_is.worker.meta.deleted_at
    since = now_is.unreachable_since or (None if now_is.fleet_known else deleted)
    if since is None or deleted is None:
        return False
    patience = min(now_is.api_patience, FORCED_PATIENCE) if forced else now_is.api_patience
    return now_is.now >= max(since, deleted) + patience


def _fleet_leaks(now_is: Situation) -> list[str]:
    name = now_is.worker.worker_name
    return [f"worker {name} in the fleet (remove it with: airflow edge remove-remote-edge-worker -H {name})"]
