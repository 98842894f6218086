"""Mirrors workers that enrolled without an EdgeWorker as External EdgeWorkers; deletes mirrors whose worker is gone."""

from datetime import timedelta

from edge_operator.api import names
from edge_operator.api.types import Obj
from edge_operator.kube.client import WORKERS, ConflictError
from edge_operator.reconcile.context import Context


def _mirror_of(worker: str, namespace: str) -> Obj:
    """Return the EdgeWorker that mirrors a worker of the fleet."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.WORKER_KIND,
        "metadata": {
            "name": names.object_name(worker),
            "namespace": namespace,
            "labels": {names.DISCOVERED_LABEL: "true"},
            "finalizers": [names.FINALIZER],
        },
        "spec": {"mode": "External", "workerName": worker},
    }


async def reconcile_mirror(context: Context) -> timedelta | None:
    """Create and delete mirrors to match the fleet."""
    namespace = context.settings.external_namespace
    if namespace is None or not context.fleet.ready.is_set():
        return None
    bounds = context.settings.bounds_of(namespace)
    for name in context.fleet.names():
        if context.owner(name) is None and bounds.worker_refusal(name, context.fleet.get(name)) is None:
            await _create(context, _mirror_of(name, namespace))
    for worker in context.workers():
        if not worker.discovered or worker.meta.deleted_at is not None:
            continue
        # It may have been superseded by an EdgeWorker of a person, or be beyond the bounds of its namespace.
        if not context.owns_name(worker) or _removed(context, worker.worker_name):
            await context.kube.delete(WORKERS, worker.meta.namespace, worker.meta.name, worker.meta.uid)
    return None


def _removed(context: Context, name: str) -> bool:
    """Return whether the worker is not in the fleet; while the edge API does not answer, no mirror is deleted."""
    return context.fleet.stale_since is None and context.fleet.get(name) is None


async def _create(context: Context, obj: Obj) -> None:
    try:
        context.cache.put(WORKERS, await context.kube.create(WORKERS, obj))
    except ConflictError:
        # The name belongs to an EdgeWorker for another worker, which stays; this worker is not mirrored.
        return
