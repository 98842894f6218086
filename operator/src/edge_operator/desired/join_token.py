"""When a worker needs a (new) join token."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_operator.api import names
from edge_operator.api.quantities import read_timestamp
from edge_operator.api.types import EdgeWorker, Obj, WorkerSpec
from edge_protocol.admin import TokenRequest

EXPIRY_MARGIN = timedelta(minutes=10)
"""A token is replaced so long before it expires: a pod has to read it and enrol."""
RETRY_AFTER = timedelta(minutes=3)
"""A pod that has not joined so long after its token was made can't use it (used up by a start that failed before the
credential was kept), so it gets another. Longer than a node takes to refresh a mounted Secret."""
_GLOB = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]"})


@dataclass(frozen=True, slots=True)
class TokenNeed:
    """What is known about the worker when its Secret is looked at."""

    enrolled: bool
    """It is in the fleet."""
    live: bool
    pod_tries: bool
    """A pod has started, whether it stays up or not."""


def may_need_token(worker: EdgeWorker, need: TokenNeed) -> bool:
    """Return whether the Secret has to be looked at: never for a live worker, which has its credential.

    A host that is run by somebody else gets a token only until it joined; a pod may lose its volume and need another.
    """
    if need.live or worker.discovered or names.SHUTDOWN in worker.meta.annotations:
        return False
    return worker.managed or not need.enrolled


def token_is_good(secret: Obj | None, unused_id: str | None, need: TokenNeed, now: datetime) -> bool:
    """Return whether the Secret's token will do for a worker that may need one.

    `unused_id` is the token that was made last if the worker was not seen live since then: a token is good once.
    """
    annotations = ((secret or {}).get("metadata") or {}).get("annotations") or {}
    expires = read_timestamp(annotations.get(names.TOKEN_EXPIRES_ANNOTATION))
    created = read_timestamp(annotations.get(names.TOKEN_CREATED_ANNOTATION))
    if secret is None or not secret.get("data") or expires is None or created is None:
        return False
    if now >= expires - EXPIRY_MARGIN or annotations.get(names.TOKEN_ID_ANNOTATION) != unused_id:
        return False
    return not (need.pod_tries and now >= created + RETRY_AFTER)


def token_request(worker: EdgeWorker, spec: WorkerSpec, lifetime: timedelta) -> TokenRequest:
    """Return the request for a token that is good once, for this worker and its team.

    The queues of a managed worker are not bound by it: they are changed through the spec while it runs.
    """
    queues = None if worker.managed else spec.queues
    return TokenRequest(
        worker_pattern=worker.worker_name.translate(_GLOB),
        queues=queues,
        team=spec.team,
        uses=1,
        expires_s=int(lifetime.total_seconds()),
    )
