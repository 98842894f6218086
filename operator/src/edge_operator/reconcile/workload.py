"""Brings the objects of a Managed worker to what they should be, and replaces its pod when it is due."""

import hashlib
import json
import logging
from datetime import datetime

from edge_operator.api import names
from edge_operator.api.conditions import Reason
from edge_operator.api.types import EdgeWorker, Obj, WorkerSpec
from edge_operator.desired import children
from edge_operator.desired.observed_pod import PodView, abandoned
from edge_operator.desired.workload import grace_seconds
from edge_operator.kube.errors import ForbiddenError, InvalidError
from edge_operator.kube.resources import CLAIMS, PODS, SERVICE_ACCOUNTS, STATEFUL_SETS, Resource
from edge_operator.reconcile.context import Context
from edge_protocol.admin import WorkerView

log = logging.getLogger(__name__)

Problem = tuple[Reason, str]


async def apply_children(context: Context, worker: EdgeWorker, spec: WorkerSpec) -> Problem | None:
    """Make the worker's objects; return why that can't be done, in words for people."""
    wanted: list[tuple[Resource, Obj]] = []
    if spec.template.service_account_name is None:
        wanted.append((SERVICE_ACCOUNTS, children.service_account(worker)))
    if spec.spool.type == "PersistentVolumeClaim":
        wanted.append((CLAIMS, children.claim(worker, spec)))
    wanted.append((STATEFUL_SETS, children.stateful_set(worker, spec, context.pod_defaults)))
    for resource, obj in wanted:
        live = context.cache.get(resource, worker.meta.namespace, worker.child_name)
        if live is not None and not _ours(live, worker):
            return Reason.NAME_TAKEN, f"{resource.kind} {worker.child_name} exists and belongs to something else."
        try:
            await _apply(context, worker, resource, obj, live)
        except InvalidError as error:
            return Reason.INVALID_TEMPLATE, f"The apiserver refuses the {resource.kind}: {error}"
    return None


async def _apply(context: Context, worker: EdgeWorker, resource: Resource, wanted: Obj, live: Obj | None) -> None:
    memory = context.memory(worker.meta.uid)
    if live is not None and resource is CLAIMS:
        # A claim can't be changed, and what is in it must not be lost.
        return
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    if live is not None and memory.applied.get(resource.kind) == (digest, _version(live)):
        return
    if resource is STATEFUL_SETS:
        await _check_pod(context, wanted)
    made = await context.kube.apply(resource, wanted)
    memory.applied[resource.kind] = (digest, _version(made))
    context.cache.put(resource, made)


async def _check_pod(context: Context, stateful_set: Obj) -> None:
    """Have the pod checked before anything is changed: of a StatefulSet's template the apiserver checks little.

    Raises:
        InvalidError: no pod could be made from the template.

    """
    meta, template = stateful_set["metadata"], stateful_set["spec"]["template"]
    pod_meta = template["metadata"] | {"name": f"{meta['name']}-check", "namespace": meta["namespace"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": pod_meta, "spec": template["spec"]}
    try:
        await context.kube.try_create(PODS, pod)
    except ForbiddenError as error:
        # A quota or a policy, which may change; the StatefulSet's own events tell of it too.
        log.warning("the pod of StatefulSet %s/%s would be refused: %s", meta["namespace"], meta["name"], error)


def _version(live: Obj) -> int:
    """Return a number that is another once somebody changed what we applied.

    A StatefulSet's generation does not count its status. A service account has none, and nothing but edits changes it.
    """
    generation: int | None = live["metadata"].get("generation")
    return generation if generation is not None else int(live["metadata"]["resourceVersion"])


def _ours(live: Obj, worker: EdgeWorker) -> bool:
    owners = live["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == worker.meta.uid for owner in owners)


async def roll_pods(
    context: Context, worker: EdgeWorker, spec: WorkerSpec, view: WorkerView | None, now: datetime
) -> Problem | None:
    """Replace pods that are not as the StatefulSet makes them now, after a drain; return what is going on.

    A deletion with the grace of the drain is the drain: the agent takes no job from SIGTERM on and ends its tasks.
    """
    live = context.stateful_set(worker)
    made = ((live or {}).get("spec") or {}).get("template", {}).get("metadata", {}).get("annotations", {})
    wanted_hash = made.get(names.HASH_ANNOTATION)
    going_on: Problem | None = None
    for pod in context.pods(worker):
        if pod.terminating:
            going_on = Reason.ROLLING, f"Pod {pod.name} drains and stops."
            if abandoned(pod, view, now, fleet_fresh=context.fleet_fresh()):
                await kill_pod(context, worker, pod)
                message = f"Pod {pod.name} was removed: its node {pod.node or ''} does not stop it."
                context.events.record(names.WORKER_KIND, worker.meta, "Warning", "PodAbandoned", message)
        elif wanted_hash is not None and pod.template_hash != wanted_hash:
            going_on = Reason.ROLLING, f"Pod {pod.name} drains and is then replaced by one of the present template."
            grace = grace_seconds(spec, context.pod_defaults)
            left = await context.kube.delete(PODS, worker.meta.namespace, pod.name, pod.uid, grace)
            _note_deletion(context, worker, pod, left)
    return going_on


async def kill_pod(context: Context, worker: EdgeWorker, pod: PodView) -> None:
    """Remove a pod without waiting for its node."""
    left = await context.kube.delete(PODS, worker.meta.namespace, pod.name, pod.uid, 0)
    _note_deletion(context, worker, pod, left)


async def stop_pods(context: Context, worker: EdgeWorker) -> None:
    """Have the StatefulSet take its pod away, which gives it the grace of its template."""
    merged = {"spec": {"replicas": 0}}
    made = await context.kube.merge(STATEFUL_SETS, worker.meta.namespace, worker.child_name, merged)
    context.cache.put(STATEFUL_SETS, made)


def _note_deletion(context: Context, worker: EdgeWorker, pod: PodView, left: Obj | None) -> None:
    known = context.cache.get(PODS, worker.meta.namespace, pod.name)
    if left is not None and left["metadata"].get("deletionGracePeriodSeconds"):
        context.cache.put(PODS, left)
    elif known is not None and known["metadata"]["uid"] == pod.uid and left is None:
        context.cache.drop(PODS, known)
