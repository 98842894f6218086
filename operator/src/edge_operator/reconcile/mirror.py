"""Shows workers that enrolled by themselves as External EdgeWorkers, and takes those away whose worker is no more."""

from datetime import timedelta

from edge_operator.api import names
from edge_operator.api.types import Obj
from edge_operator.fleet.state import FleetState
from edge_operator.kube.errors import ConflictError
from edge_operator.kube.resources import WORKERS
from edge_operator.reconcile.context import Context


def mirror_object(worker: str, namespace: str) -> Obj:
    """Return the EdgeWorker for a worker of the fleet."""
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
    """Create and delete objects until they are as the fleet."""
    namespace = context.settings.external_namespace
    if namespace is None or not context.state.ready.is_set():
        return None
    for name in context.state.names():
        if not context.claims(name):
            await _create(context, mirror_object(name, namespace))
    for worker in context.workers():
        if not worker.discovered or worker.meta.deleted_at is not None:
            continue
        owner = context.owner(worker.worker_name)
        superseded = owner is not None and owner.meta.uid != worker.meta.uid
        if superseded or _gone(context.state, worker.worker_name):
            await context.kube.delete(WORKERS, worker.meta.namespace, worker.meta.name, worker.meta.uid)
    return None


def _gone(state: FleetState, name: str) -> bool:
    """Return whether the fleet is known to lack the worker; while the edge API is away nothing is taken away."""
    return state.stale_since is None and state.get(name) is None


async def _create(context: Context, obj: Obj) -> None:
    try:
        context.cache.put(WORKERS, await context.kube.create(WORKERS, obj))
    except ConflictError:
        # Somebody has an EdgeWorker of this name for another worker; theirs stays, and this worker is not shown.
        return
