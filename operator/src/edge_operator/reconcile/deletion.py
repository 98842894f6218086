"""Carries out the steps of a deletion, and reports at the end what could not be cleaned up."""

import contextlib
from datetime import datetime, timedelta

from edge_operator import metrics
from edge_operator.api import names
from edge_operator.api.types import EdgeWorker, timestamp
from edge_operator.desired.deletion import Situation, Step, deadline, next_step
from edge_operator.desired.worker_status import Observed, worker_status
from edge_operator.fleet.admin_api import FleetError, RefusedError
from edge_operator.kube.client import WORKERS, ConflictError, KubeError, NotFoundError
from edge_operator.reconcile.context import Context, utc_now
from edge_operator.reconcile.queue import Key
from edge_operator.reconcile.workload import force_delete_pod, stop_pods

STEPS_AT_ONCE = 10
"""Steps without a wait in one pass; more than there are, so that a bug can't cause an endless loop."""


async def reconcile_deletion(context: Context, worker: EdgeWorker) -> timedelta | None:
    """Do all steps that are due; return the requeue delay, if any."""
    if names.FINALIZER not in worker.meta.finalizers:
        return None
    for _ in range(STEPS_AT_ONCE):
        now = utc_now()
        step = next_step(_situation(context, worker, now))
        if step.finish:
            await _finish(context, worker, step)
            return None
        try:
            await _carry_out(context, worker, step)
        except KubeError as error:
            await _write_status(context, worker, f"{step.message} The apiserver refuses it: {error}", now)
            raise
        if step.wait:
            await _write_status(context, worker, step.message, now)
            return step.wait
    return timedelta(seconds=1)


def _situation(context: Context, worker: EdgeWorker, now: datetime) -> Situation:
    stateful_set = context.stateful_set(worker)
    return Situation(
        worker=worker,
        view=context.fleet.get(worker.worker_name),
        owns_name=context.owns_name(worker),
        fleet_known=context.fleet.ready.is_set(),
        unreachable_since=context.admin_api.unreachable_since or context.fleet.stale_since,
        api_patience=timedelta(seconds=context.settings.api_patience_s),
        stop_margin=_stop_margin(context),
        pods=context.pods(worker),
        replicas=stateful_set["spec"].get("replicas", 1) if stateful_set is not None else None,
        progress=context.memory(worker.meta.uid).deletion,
        now=now,
    )


def _stop_margin(context: Context) -> timedelta:
    return timedelta(seconds=context.settings.stop_margin_s)


async def _carry_out(context: Context, worker: EdgeWorker, step: Step) -> None:
    progress = context.memory(worker.meta.uid).deletion
    if step.stop_pods:
        # NotFoundError: the garbage collector was faster.
        with contextlib.suppress(NotFoundError):
            await stop_pods(context, worker)
    for pod in step.force_delete_pods:
        with contextlib.suppress(ConflictError):
            await force_delete_pod(context, worker, pod)
        progress.force_deleted.add(pod.uid)
    # After a failure the next pass decides, which gives up after a while.
    with contextlib.suppress(FleetError):
        await _change_fleet(context, worker, step)


async def _change_fleet(context: Context, worker: EdgeWorker, step: Step) -> None:
    name, api = worker.worker_name, context.admin_api
    progress = context.memory(worker.meta.uid).deletion
    if step.request_shutdown:
        await api.request_shutdown(name)
    if step.revoke:
        await api.revoke_credentials(name)
        token = worker.status.get("joinTokenId")
        if token:
            await api.revoke_token(token)
        progress.revoked = True
    if step.remove:
        progress.removal_since = progress.removal_since or utc_now()
        try:
            await api.remove(name)
        except RefusedError as error:
            if error.status != 409:
                raise
            # It counts as alive until it has missed three heartbeats.
            return
        context.fleet.drop(name)


async def _finish(context: Context, worker: EdgeWorker, step: Step) -> None:
    if step.leaks:
        metrics.LEAKS.inc(len(step.leaks))
        message = f"Deleted, but this could not be cleaned up: {'; '.join(step.leaks)}."
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
        remaining = await context.kube.json_patch(WORKERS, meta.namespace, meta.name, operations)
        if remaining["metadata"].get("finalizers"):
            context.cache.put(WORKERS, remaining)
            return
    known = context.cache.get(WORKERS, meta.namespace, meta.name)
    if known is not None and known["metadata"]["uid"] == meta.uid:
        context.cache.drop(WORKERS, known)


async def _write_status(context: Context, worker: EdgeWorker, message: str, now: datetime) -> None:
    current = context.worker(Key(names.WORKER_KIND, worker.meta.namespace, worker.meta.name))
    if current is None or current.meta.uid != worker.meta.uid:
        return
    seen = Observed(
        worker=current,
        view=context.fleet.get(worker.worker_name) if context.owns_name(worker) else None,
        fleet_known=context.fleet.ready.is_set(),
        fleet_fresh=context.fleet_fresh(),
        view_is_of_pod=True,
        pods=context.pods(worker),
        now=now,
        deleting=message,
        extra={
            "drainDeadline": timestamp(deadline(worker, _stop_margin(context))),
            **{key: worker.status.get(key) for key in ("joinTokenId", "joinTokenSecret", "requestedMaintenance")},
        },
    )
    await context.write_worker_status(current, worker_status(seen))
