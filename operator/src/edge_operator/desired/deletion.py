"""The next step of deleting an EdgeWorker. Every wait is bounded, and what could not be cleaned up is named.

    stop the worker -> it drains -> remove it from the fleet -> remove the finalizer

Waits end at `deadline`, at once with the force-delete annotation, and, where the edge API is needed, once it has been
unreachable for too long.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edge_operator.api import names
from edge_operator.api.types import EdgeWorker, timestamp
from edge_operator.desired.fleet_changes import live
from edge_operator.desired.observed_pod import ObservedPod, abandoned
from edge_protocol.admin import WorkerView
from edge_protocol.worker_state import WorkerState

DRAIN_DEFAULT_S = 3600
REMOVAL_MARGIN = timedelta(seconds=90)
"""On top of the drain: a worker that vanished becomes unknown after 30 s, and calls may have to be repeated."""
FORCED_PATIENCE = timedelta(seconds=10)
"""A forced deletion waits no longer than this for an edge API that does not answer."""
REMOVAL_PATIENCE = timedelta(seconds=45)
"""How long the removal of a worker is retried that the edge API still considers alive, even in a forced deletion."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that decides the next step."""

    worker: EdgeWorker
    view: WorkerView | None
    owns_name: bool
    """The worker belongs to this EdgeWorker; if it does not, the fleet is left alone."""
    fleet_known: bool
    """The fleet has been read since the operator started, so a missing view means a missing worker."""
    unreachable_since: datetime | None
    """Since when the edge API has not answered."""
    api_patience: timedelta
    stop_margin: timedelta
    """Time to stop, on top of the drain timeout."""
    pods: list[ObservedPod]
    replicas: int | None
    """Replicas of the StatefulSet; None: there is none."""
    progress: "Progress"
    now: datetime


@dataclass(slots=True)
class Progress:
    """The steps taken so far. In memory only: a restarted operator repeats them, which does no harm."""

    force_deleted: set[str] = field(default_factory=set)
    """uids of pods that were force-deleted."""
    revoked: bool = False
    removal_since: datetime | None = None
    """When the removal from the fleet was first requested."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now. `finish` is set alone."""

    stop_pods: bool = False
    """Scale the StatefulSet to zero."""
    force_delete_pods: list[ObservedPod] = field(default_factory=list)
    """Pods to force-delete."""
    request_shutdown: bool = False
    revoke: bool = False
    """Revoke the worker's credentials and its join token."""
    remove: bool = False
    """Remove the worker from the fleet."""
    finish: bool = False
    leaks: list[str] = field(default_factory=list)
    """With `finish`: what could not be cleaned up, for people."""
    message: str = ""
    wait: timedelta = timedelta(seconds=2)
    """Requeue after this delay, if nothing happens earlier."""


def deadline(worker: EdgeWorker, stop_margin: timedelta) -> datetime:
    """Return when the deletion stops waiting for tasks. It depends on the object alone, not on operator restarts."""
    if worker.meta.deleted_at is None:
        raise ValueError(f"EdgeWorker {worker.meta.name} is not being deleted")
    drain = worker.raw_spec.get("drainTimeoutSeconds", DRAIN_DEFAULT_S)
    return worker.meta.deleted_at + timedelta(seconds=drain) + stop_margin


def next_step(situation: Situation) -> Step:
    """Return the next step."""
    forced = names.FORCE_DELETE in situation.worker.meta.annotations
    end = deadline(situation.worker, situation.stop_margin)
    late = forced or situation.now >= end
    over = situation.now >= end + REMOVAL_MARGIN
    if situation.worker.managed:
        step = _pods_step(situation, late=late, over=forced or over)
        if step is not None:
            return step
    leaks = [f"pod {pod.name} on node {pod.node or 'none'}" for pod in situation.pods if situation.worker.managed]
    if not situation.owns_name:
        return Step(finish=True, leaks=leaks)
    if _gave_up_on_api(situation, forced=forced):
        return Step(finish=True, leaks=[*leaks, *_fleet_leaks(situation)])
    if not situation.fleet_known or situation.unreachable_since is not None:
        return Step(message="Waiting for the edge API to answer.")
    return _fleet_step(situation, leaks, late=late)


def _pods_step(situation: Situation, *, late: bool, over: bool) -> Step | None:
    """Return the next step that concerns pods, or None when they are gone or given up."""
    if situation.replicas:
        return Step(stop_pods=True, wait=timedelta(0), message="Stopping the pod after its running tasks.")
    if not situation.pods:
        return None
    fresh = situation.fleet_known and situation.unreachable_since is None
    lost = [pod for pod in situation.pods if late or abandoned(pod, situation.view, situation.now, fleet_fresh=fresh)]
    doomed = [pod for pod in lost if pod.uid not in situation.progress.force_deleted]
    if doomed:
        return Step(force_delete_pods=doomed, wait=timedelta(0), message="Force-deleting a pod on a lost node.")
    return None if over else Step(message=f"Waiting for pod {situation.pods[0].name} to finish its tasks.")


def _fleet_step(situation: Situation, leaks: list[str], *, late: bool) -> Step:
    view, since = situation.view, situation.progress.removal_since
    if not situation.worker.managed and live(view) and not late:
        leaving = view is not None and (view.shutdown or view.state is WorkerState.TERMINATING)
        return Step(request_shutdown=not leaving, message="Waiting for the worker to finish its tasks and stop.")
    if view is not None and view.jobs_kept_until is not None and not late:
        kept = timestamp(view.jobs_kept_until)
        return Step(message=f"The worker is out of contact; waiting until {kept}, since its tasks may still run.")
    if not situation.progress.revoked:
        # Before the removal: a worker without a connection must not come back with its old credential.
        return Step(revoke=True, wait=timedelta(0), message="Revoking the worker's credentials.")
    if view is None:
        return Step(finish=True, leaks=leaks)
    if since is not None and situation.now >= since + REMOVAL_PATIENCE:
        return Step(finish=True, leaks=[*leaks, *_fleet_leaks(situation)])
    return Step(remove=True, message="Removing the worker from the fleet.")


def _gave_up_on_api(situation: Situation, *, forced: bool) -> bool:
    """Return whether the edge API has been unreachable for too long since the deletion."""
    deleted = situation.worker.meta.deleted_at
    since = situation.unreachable_since or (None if situation.fleet_known else deleted)
    if since is None or deleted is None:
        return False
    patience = min(situation.api_patience, FORCED_PATIENCE) if forced else situation.api_patience
    return situation.now >= max(since, deleted) + patience


def _fleet_leaks(situation: Situation) -> list[str]:
    name = situation.worker.worker_name
    return [f"worker {name} in the fleet (remove it with: airflow edge remove-remote-edge-worker -H {name})"]
