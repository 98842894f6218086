"""Keeps a join token in the Secret of a worker that may need one."""

from datetime import datetime, timedelta

from edge_operator.api.quantities import timestamp
from edge_operator.api.types import EdgeWorker, Obj, WorkerSpec
from edge_operator.desired import children
from edge_operator.desired.fleet_changes import live
from edge_operator.desired.join_token import RETRY_AFTER, TokenNeed, may_need_token, token_is_good, token_request
from edge_operator.desired.workload import TOKEN_KEY
from edge_operator.kube.resources import SECRETS
from edge_operator.reconcile.context import Context
from edge_protocol.admin import WorkerView


async def keep_token(
    context: Context, worker: EdgeWorker, spec: WorkerSpec, view: WorkerView | None, now: datetime
) -> tuple[Obj, timedelta | None]:
    """Return the fields of status about the token, and when to look again.

    A token is good for one enrolment of this one worker. Whoever steals the Secret of a worker that has joined gets
    nothing.
    """
    tries = any(pod.running or pod.failing for pod in context.pods(worker))
    need = TokenNeed(enrolled=view is not None, live=live(view), pod_tries=tries)
    known: Obj = {field: worker.status.get(field) for field in ("joinTokenSecret", "joinTokenExpires", "joinTokenId")}
    if need.live:
        # It has joined, so its token is used up.
        return ({"joinTokenSecret": known["joinTokenSecret"]} if worker.managed else {}), None
    if not context.state.ready.is_set() or not may_need_token(worker, need):
        return (known if worker.managed else {}), None
    secret = await context.kube.find(SECRETS, worker.meta.namespace, worker.child_name)
    if not token_is_good(secret, known["joinTokenId"], need, now):
        known = await _renew(context, worker, spec, now)
    if not worker.managed:
        known["howToStart"] = how_to_start(context, worker)
    return known, RETRY_AFTER if tries else None


async def _renew(context: Context, worker: EdgeWorker, spec: WorkerSpec, now: datetime) -> Obj:
    settings = context.settings
    lifetime = timedelta(seconds=settings.token_lifetime_s if worker.managed else settings.external_token_lifetime_s)
    before = worker.status.get("joinTokenId")
    if before:
        # First, so that an operator that dies in between leaves one good token at most.
        await context.fleet.revoke_token(before)
    token = await context.fleet.create_token(token_request(worker, spec, lifetime))
    secret = children.token_secret(worker, token.token, str(token.id), now, token.expires_at)
    await context.kube.apply(SECRETS, secret)
    return {
        "joinTokenSecret": worker.child_name,
        "joinTokenExpires": timestamp(token.expires_at),
        "joinTokenId": str(token.id),
    }


def how_to_start(context: Context, worker: EdgeWorker) -> str:
    """Return what to type, where and in which order, to start a worker that somebody else's host runs."""
    api_url = context.settings.worker_api_url or context.settings.api_url
    read = f"kubectl -n {worker.meta.namespace} get secret {worker.child_name} -o jsonpath='{{.data.{TOKEN_KEY}}}'"
    enrol = f"edge-worker enroll --api-url {api_url} --name {worker.worker_name} --join-token-file FILE"
    return f"Write the token to FILE: {read} | base64 -d. On the host: {enrol}, then: edge-worker run."
