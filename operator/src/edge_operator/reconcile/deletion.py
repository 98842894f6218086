"""Carries out the steps of a deletion, and says at the end what could not be cleaned."""

import contextlib
from datetime import datetime, timedelta

from edge_operator import metrics
from edge_operator.api import names
from edge_operator.api.conditions import Reason
from edge_operator.api.quantities import timestamp
from edge_operator.api.types import EdgeWorker
from edge_operator.desired.deletion import Situation, Step, deadline, next_step
from edge_operator.desired.worker_status import Observed, worker_status
from edge_operator.fleet.errors import FleetError, RefusedError
from edge_operator.kube.errors import ConflictError, NotFoundError
from edge_operator.kube.resources import WORKERS
from edge_operator.reconcile.context import Context, utc_now
from edge_operator.reconcile.queue import Key
from edge_operator.reconcile.status import write_worker_status
from edge_operator.reconcile.workload import kill_pod, stop_pods

STEPS_AT_ONCE = 10
"""Steps without a wait between them in one pass; more than there are, so that a mistake here can't spin."""


async def reconcile_deletion(context: Context, worker: EdgeWorker) -> timedelta | None:
    """Do all steps that can be done now; return when to look again."""
    if names.FINALIZER not in worker.meta.finalizers:
        return None
    for _ in range(STEPS_AT_ONCE):
        now = utc_now()
        step = next_step(_situation(context, worker, now))
        if step.finish:
            await _finish(context, worker, step)
            return None
        await _carry_out(context, worker, step)
        if step.wait:
            await _write_status(context, worker, step, now)
            return step.wait
    return timedelta(seconds=1)


def _situation(context: Context, worker: EdgeWorker, now: datetime) -> Situation:
    live = context.stateful_set(worker)
    ours = live is not None and any(
        owner.get("uid") == worker.meta.uid for owner in live["metadata"].get("ownerReferences") or []
    )
    owner = context.owner(worker.worker_name)
    return Situation(
        worker=worker,
        view=context.state.get(worker.worker_name),
        owns_name=owner is None or owner.meta.uid == worker.meta.uid,
        fleet_known=context.state.ready.is_set(),
        unreachable_since=context.http.unreachable_since or context.state.stale_since,
        api_patience=timedelta(seconds=context.settings.api_patience_s),
        stop_margin=_stop_margin(context),
        pods=context.pods(worker),
        replicas=live["spec"].get("replicas", 1) if live is not None and ours else None,
        progress=context.memory(worker.meta.uid).deletion,
        now=now,
    )


def _stop_margin(context: Context) -> timedelta:
    return timedelta(seconds=context.settings.stop_margin_s)


async def _carry_out(context: Context, worker: EdgeWorker, step: Step) -> None:
    progress = context.memory(worker.meta.uid).deletion
    if step.stop_pods:
        # NotFound: the garbage collector was faster.
        with contextlib.suppress(NotFoundError):
            await stop_pods(context, worker)
    for pod in step.kill_pods:
        with contextlib.suppress(ConflictError):
            await kill_pod(context, worker, pod)
        progress.killed.add(pod.uid)
    # No answer: the next look at the situation knows, and gives up when it is time.
    with contextlib.suppress(FleetError):
        await _tell_fleet(context, worker, step)


async def _tell_fleet(context: Context, worker: EdgeWorker, step: Step) -> None:
    name, fleet = worker.worker_name, context.fleet
    progress = context.memory(worker.meta.uid).deletion
    if step.request_shutdown:
        await fleet.request_shutdown(name)
    if step.revoke:
        await fleet.revoke_credentials(name)
        token = worker.status.get("joinTokenId")
        if token:
            await fleet.revoke_token(token)
        progress.revoked = True
    if step.remove:
        progress.removal_since = progress.removal_since or utc_now()
        try:
            await fleet.remove(name)
        except RefusedError as error:
            if error.status != 409:
                raise
            # It counts as alive until it was silent for three heartbeats.
            return
        context.state.drop(name)


async def _finish(context: Context, worker: EdgeWorker, step: Step) -> None:
    if step.leaks:
        metrics.LEAKS.inc(len(step.leaks))
        message = f"Deleted, but this could not be cleaned: {'; '.join(step.leaks)}."
        context.events.record(names.WORKER_KIND, worker.meta, "Warning", "CleanupIncomplete", message)
    meta = worker.meta
    index = meta.finalizers.index(names.FINALIZER)
    path = f"/metadata/finalizers/{index}"
    operations = [
        {"op": "test", "path": path, "value": names.FINALIZER},
        {"op": "test", "path": "/metadata/uid", "value": meta.uid},
        {"op": "remove", "path": path},
    ]
    with contextlib.suppress(NotFoundError):
        left = await context.kube.replace_fields(WORKERS, meta.namespace, meta.name, operations)
        if left["metadata"].get("finalizers"):
            context.cache.put(WORKERS, left)
            return
    known = context.cache.get(WORKERS, meta.namespace, meta.name)
    if known is not None and known["metadata"]["uid"] == meta.uid:
        context.cache.drop(WORKERS, known)


async def _write_status(context: Context, worker: EdgeWorker, step: Step, now: datetime) -> None:
    current = context.worker(Key(names.WORKER_KIND, worker.meta.namespace, worker.meta.name))
    if current is None or current.meta.uid != worker.meta.uid:
        return
    seen = Observed(
        worker=current,
        view=context.state.get(worker.worker_name),
        fleet_known=context.state.ready.is_set(),
        fleet_fresh=context.fleet_fresh(),
        arrived=True,
        pods=context.pods(worker),
        problem=None,
        progressing=(Reason.DELETING, step.message),
        blocked=None,
        extra={
            "drainDeadline": timestamp(deadline(worker, _stop_margin(context))),
            **{key: worker.status.get(key) for key in ("joinTokenId", "joinTokenSecret", "requestedMaintenance")},
        },
        now=now,
    )
    await write_worker_status(context, current, worker_status(seen))
