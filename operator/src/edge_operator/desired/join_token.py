"""When a worker needs a (new) join token, and for what it is valid."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_operator.api import names
from edge_operator.api.bounds import NamespaceBounds
from edge_operator.api.types import EdgeWorker, Obj, WorkerSpec, read_timestamp
from edge_protocol.admin import TokenRequest

EXPIRY_MARGIN = timedelta(minutes=10)
"""A token is replaced this long before it expires: a pod needs time to read it and enrol."""
RETRY_AFTER = timedelta(minutes=3)
"""A pod that has not enrolled this long after its token was created gets another: an earlier start may have used the
token and failed before it stored the credential. Longer than a node takes to refresh a mounted Secret."""
_GLOB = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]"})


@dataclass(frozen=True, slots=True)
class TokenNeed:
    """What decides whether a worker needs a join token."""

    enrolled: bool
    """The worker is in the fleet."""
    live: bool
    pod_started: bool
    """A pod has started, whether it keeps running or not."""


def may_need_token(worker: EdgeWorker, need: TokenNeed) -> bool:
    """Return whether the Secret must be checked: never for a live worker, which has its credential.

    An External worker needs a token only until it has enrolled; a pod may lose its volume and need another one.
    """
    if need.live or worker.discovered or names.SHUTDOWN in worker.meta.annotations:
        return False
    return worker.managed or not need.enrolled


def token_is_usable(secret: Obj | None, unused_id: str | None, need: TokenNeed, now: datetime) -> bool:
    """Return whether the Secret's token can still enrol the worker.

    `unused_id` is the last token that was created, unless the worker has been live since: a token can be used once.
    """
    annotations = ((secret or {}).get("metadata") or {}).get("annotations") or {}
    expires = read_timestamp(annotations.get(names.TOKEN_EXPIRES_ANNOTATION))
    created = read_timestamp(annotations.get(names.TOKEN_CREATED_ANNOTATION))
    if secret is None or not secret.get("data") or expires is None or created is None:
        return False
    if now >= expires - EXPIRY_MARGIN or annotations.get(names.TOKEN_ID_ANNOTATION) != unused_id:
        return False
    return not (need.pod_started and now >= created + RETRY_AFTER)


def token_request(worker: EdgeWorker, spec: WorkerSpec, bounds: NamespaceBounds, lifetime: timedelta) -> TokenRequest:
    """Return the request for a token that can be used once, by this worker and its team.

    A Managed worker may serve all queues of its namespace: the spec can change its queues while it runs.
    """
    queues = bounds.queues if worker.managed else spec.queues or bounds.queues
    return TokenRequest(
        worker_pattern=worker.worker_name.translate(_GLOB),
        queues=queues,
        team=spec.team or bounds.team,
        uses=1,
        expires_s=int(lifetime.total_seconds()),
    )
