"""Writes the status of an EdgeWorker, only when it changed, and tells of what changed in it."""

import time
from datetime import timedelta
from typing import Any

from edge_operator import metrics
from edge_operator.api import names
from edge_operator.api.conditions import WARNING_REASONS, Condition
from edge_operator.api.types import EdgeWorker, Meta, Obj
from edge_operator.desired.worker_status import differs, minor, transitions
from edge_operator.kube.errors import NotFoundError
from edge_operator.kube.resources import POOLS, WORKERS, Resource
from edge_operator.reconcile.context import Context


def merge_patch(before: Any, after: Any) -> Any:
    """Return the JSON merge patch that makes `after` of `before`."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    removed: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    return removed | {
        key: merge_patch(before.get(key), value) for key, value in after.items() if before.get(key) != value
    }


async def write_worker_status(context: Context, worker: EdgeWorker, after: Obj) -> timedelta | None:
    """Write the status if it is another; return when to come back for a change that is not worth a write yet."""
    settings, memory = context.settings, context.memory(worker.meta.uid)
    if not differs(worker.status, after, timedelta(seconds=settings.heartbeat_refresh_s)):
        return None
    rest = memory.status_written_at + settings.minor_interval_s - time.monotonic()
    if rest > 0 and minor(worker.status, after):
        return timedelta(seconds=rest)
    memory.status_written_at = time.monotonic()
    await write_status(context, WORKERS, worker.meta, worker.status, after)
    return None


async def write_status(context: Context, resource: Resource, meta: Meta, before: Obj, after: Obj) -> None:
    """Write a status and record the transitions of its conditions as Events."""
    patch = {"status": merge_patch(before, after), "metadata": {"uid": meta.uid}}
    try:
        made = await context.kube.merge(resource, meta.namespace, meta.name, patch, subresource="status")
    except NotFoundError:
        return
    context.cache.put(resource, made)
    metrics.STATUS_WRITES.labels(resource.kind).inc()
    for condition in transitions(before, after):
        if before.get("conditions") or condition["type"] == Condition.READY:
            _tell(context, resource, meta, condition)


def _tell(context: Context, resource: Resource, meta: Meta, condition: Obj) -> None:
    warning = condition["reason"] in WARNING_REASONS and condition["status"] != "True"
    kind = names.POOL_KIND if resource is POOLS else names.WORKER_KIND
    message = f"{condition['type']} is {condition['status']}: {condition['message']}"
    context.events.record(kind, meta, "Warning" if warning else "Normal", condition["reason"], message)
