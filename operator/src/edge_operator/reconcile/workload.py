"""Brings the workload of an EdgeWorker into its desired state: join token, objects of a Managed worker, its pod."""

import hashlib
import json
import logging
from datetime import datetime, timedelta

from edge_operator.api import names
from edge_operator.api.conditions import Reason
from edge_operator.api.types import EdgeWorker, Obj, WorkerSpec, timestamp
from edge_operator.desired import workload
from edge_operator.desired.fleet_changes import live
from edge_operator.desired.join_token import RETRY_AFTER, TokenNeed, may_need_token, token_is_usable, token_request
from edge_operator.desired.observed_pod import ObservedPod, abandoned
from edge_operator.kube.client import (
    CLAIMS,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    STATEFUL_SETS,
    ForbiddenError,
    InvalidError,
    KubeError,
    Resource,
)
from edge_operator.reconcile.context import Context
from edge_operator.reconcile.own_objects import find_own, write_own
from edge_protocol.admin import WorkerView

log = logging.getLogger(__name__)

Problem = tuple[Reason, str]
"""Why a spec can't be carried out: reason and message of the condition Ready."""


async def keep_token(
    context: Context, worker: EdgeWorker, spec: WorkerSpec, view: WorkerView | None, now: datetime
) -> tuple[Obj, timedelta | None]:
    """Keep a usable join token in the worker's Secret while it may need one.

    Return the fields of status about the token, and the requeue delay. A token is valid for one enrolment of this one
    worker, so the Secret of a worker that has enrolled is useless to a thief.

    Raises:
        NameTakenError: the Secret belongs to something else.

    """
    pod_started = any(pod.running or pod.failing for pod in context.pods(worker))
    need = TokenNeed(enrolled=view is not None, live=live(view), pod_started=pod_started)
    known = known_token(worker)
    if need.live:
        # It has enrolled, so its token is used up.
        return ({"joinTokenSecret": known["joinTokenSecret"]} if worker.managed else {}), None
    if not context.fleet.ready.is_set() or not may_need_token(worker, need):
        return (known if worker.managed else {}), None
    secret = await find_own(context, worker, SECRETS)
    if not token_is_usable(secret, known["joinTokenId"], need, now):
        known = await _replace_token(context, worker, spec, secret, now)
    if not worker.managed:
        known["howToStart"] = _how_to_start(context, worker)
    return known, RETRY_AFTER if pod_started else None


def known_token(worker: EdgeWorker) -> Obj:
    """Return the fields of status about the token, as they are."""
    return {field: worker.status.get(field) for field in ("joinTokenSecret", "joinTokenExpires", "joinTokenId")}


async def _replace_token(context: Context, worker: EdgeWorker, spec: WorkerSpec, own: Obj | None, now: datetime) -> Obj:
    settings = context.settings
    lifetime = timedelta(seconds=settings.token_lifetime_s if worker.managed else settings.external_token_lifetime_s)
    before = worker.status.get("joinTokenId")
    if before:
        # First, so that an operator that is killed in between leaves at most one valid token.
        await context.admin_api.revoke_token(before)
    bounds = settings.bounds_of(worker.meta.namespace)
    token = await context.admin_api.create_token(token_request(worker, spec, bounds, lifetime))
    secret = workload.token_secret(worker, token.token, str(token.id), now, token.expires_at)
    try:
        await write_own(context, SECRETS, secret, own)
    except KubeError:
        # Each retry creates another token, so one that can't be stored must not stay valid.
        await context.admin_api.revoke_token(token.id)
        raise
    return {
        "joinTokenSecret": worker.child_name,
        "joinTokenExpires": timestamp(token.expires_at),
        "joinTokenId": str(token.id),
    }


def _how_to_start(context: Context, worker: EdgeWorker) -> str:
    """Return the commands that start an External worker, for its owner."""
    api_url = context.settings.worker_api_url or context.settings.api_url
    secret = f"secret {worker.child_name} -o jsonpath='{{.data.{workload.TOKEN_KEY}}}'"
    read = f"kubectl -n {worker.meta.namespace} get {secret}"
    enrol = f"edge-worker enroll --api-url {api_url} --name {worker.worker_name} --join-token-file FILE"
    return f"Write the token to FILE: {read} | base64 -d. On the host: {enrol}, then: edge-worker run."


async def apply_workload(context: Context, worker: EdgeWorker, spec: WorkerSpec) -> Problem | None:
    """Create or update the worker's objects; return why that can't be done, if the spec is the reason.

    Raises:
        NameTakenError: one of them belongs to something else.

    """
    desired: list[tuple[Resource, Obj]] = []
    if spec.template.service_account_name is None:
        desired.append((SERVICE_ACCOUNTS, workload.service_account(worker)))
    if spec.spool.type == "PersistentVolumeClaim":
        desired.append((CLAIMS, workload.claim(worker, spec)))
    desired.append((STATEFUL_SETS, workload.stateful_set(worker, spec, context.pod_defaults)))
    for resource, obj in desired:
        try:
            await _apply(context, worker, resource, obj)
        except InvalidError as error:
            return Reason.INVALID_TEMPLATE, f"The apiserver refuses the {resource.kind}: {error}"
    return None


async def _apply(context: Context, worker: EdgeWorker, resource: Resource, desired: Obj) -> None:
    memory = context.memory(worker.meta.uid)
    own = await find_own(context, worker, resource)
    if own is not None and resource is CLAIMS:
        # A claim can't be changed, and its data must not be lost.
        return
    digest = hashlib.sha256(json.dumps(desired, sort_keys=True).encode()).hexdigest()
    if own is not None and memory.applied.get(resource.kind) == (digest, _version(own)):
        return
    if resource is STATEFUL_SETS:
        # Its pod mounts the Secret, which must not be somebody else's.
        await find_own(context, worker, SECRETS)
        await _check_pod(context, desired)
    applied = await write_own(context, resource, desired, own)
    memory.applied[resource.kind] = (digest, _version(applied))
    context.cache.put(resource, applied)


async def _check_pod(context: Context, stateful_set: Obj) -> None:
    """Have the apiserver check the pod before anything is changed: it hardly checks the template of a StatefulSet.

    Raises:
        InvalidError: no pod can be created from the template.

    """
    meta, template = stateful_set["metadata"], stateful_set["spec"]["template"]
    pod_meta = template["metadata"] | {"name": f"{meta['name']}-check", "namespace": meta["namespace"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": pod_meta, "spec": template["spec"]}
    try:
        await context.kube.try_create(PODS, pod)
    except ForbiddenError as error:
        # A quota or a policy, which may change; the StatefulSet's own events report it too.
        log.warning("the pod of StatefulSet %s/%s would be refused: %s", meta["namespace"], meta["name"], error)


def _version(obj: Obj) -> int:
    """Return a version that changes when someone else edits the object.

    The generation of a StatefulSet does not count changes of its status. A service account has no generation, and only
    edits change its resource version.
    """
    generation: int | None = obj["metadata"].get("generation")
    return generation if generation is not None else int(obj["metadata"]["resourceVersion"])


async def roll_pods(
    context: Context, worker: EdgeWorker, spec: WorkerSpec, view: WorkerView | None, now: datetime
) -> str | None:
    """Replace pods of an old template; return which pod is being replaced, as a message.

    Deleting the pod with the drain timeout as grace period drains it: after SIGTERM the agent takes no more jobs and
    finishes its tasks.
    """
    stateful_set = context.stateful_set(worker) or {}
    annotations = (stateful_set.get("spec") or {}).get("template", {}).get("metadata", {}).get("annotations", {})
    desired_hash = annotations.get(names.HASH_ANNOTATION)
    rolling: str | None = None
    for pod in context.pods(worker):
        if pod.terminating:
            rolling = f"Pod {pod.name} drains and stops."
            if abandoned(pod, view, now, fleet_fresh=context.fleet_fresh()):
                await force_delete_pod(context, worker, pod)
                message = f"Pod {pod.name} was force-deleted: its node {pod.node or ''} does not stop it."
                context.events.record(names.WORKER_KIND, worker.meta, "Warning", "PodAbandoned", message)
        elif desired_hash is not None and pod.template_hash != desired_hash:
            rolling = f"Pod {pod.name} drains and is then replaced by a pod of the current template."
            grace = workload.grace_seconds(spec, context.pod_defaults)
            await _delete_pod(context, worker, pod, grace)
    return rolling


async def force_delete_pod(context: Context, worker: EdgeWorker, pod: ObservedPod) -> None:
    """Delete a pod without waiting for its node."""
    await _delete_pod(context, worker, pod, grace_s=0)


async def stop_pods(context: Context, worker: EdgeWorker) -> None:
    """Scale the StatefulSet to zero: its pod drains for the grace period of the template."""
    patch = {"spec": {"replicas": 0}}
    written = await context.kube.merge(STATEFUL_SETS, worker.meta.namespace, worker.child_name, patch)
    context.cache.put(STATEFUL_SETS, written)


async def _delete_pod(context: Context, worker: EdgeWorker, pod: ObservedPod, grace_s: int) -> None:
    remaining = await context.kube.delete(PODS, worker.meta.namespace, pod.name, pod.uid, grace_s)
    known = context.cache.get(PODS, worker.meta.namespace, pod.name)
    if remaining is not None and remaining["metadata"].get("deletionGracePeriodSeconds"):
        context.cache.put(PODS, remaining)
    elif known is not None and known["metadata"]["uid"] == pod.uid and remaining is None:
        context.cache.drop(PODS, known)
