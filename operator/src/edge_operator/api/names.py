"""Every name that the operator gives or reads: groups, labels, annotations, finalizers, reasons of none of its own."""

import hashlib
import re

GROUP = "airflow-edge.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
WORKER_KIND = "EdgeWorker"
POOL_KIND = "EdgeWorkerPool"

FIELD_MANAGER = "airflow-edge-operator"
"""Owner of the fields that the operator applies, and the component that its Events name."""

FINALIZER = f"{GROUP}/worker"
"""Holds an EdgeWorker back until its worker is drained and gone from the fleet."""

MAINTENANCE = f"{GROUP}/maintenance"
"""Annotation: puts the worker into maintenance; its value is the comment."""
SHUTDOWN = f"{GROUP}/shutdown"
"""Annotation: shuts the worker down after a drain, and keeps it down while it is there."""
FORCE_DELETE = f"{GROUP}/force-delete"
"""Annotation: a deletion does not wait for running tasks."""

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY_SELECTOR = f"{MANAGED_BY_LABEL}={FIELD_MANAGER}"
"""What the operator watches of StatefulSets and pods: only its own."""
WORKER_LABEL = f"{GROUP}/worker"
"""On children: the name that they share."""
POOL_LABEL = f"{GROUP}/pool"
"""On EdgeWorkers and pods of a pool: the pool's name."""
DISCOVERED_LABEL = f"{GROUP}/discovered"
"""On EdgeWorkers that the operator made for workers that enrolled by themselves."""

OBJECT_ANNOTATION = f"{GROUP}/edgeworker"
"""On pods: the name of their EdgeWorker, which may be too long for a label."""
HASH_ANNOTATION = f"{GROUP}/template-hash"
"""On pods: what the pod was made from, without what a running worker can take up without a restart."""
AUTHORITIES_ANNOTATION = f"{GROUP}/authorities"
"""On pods: PEM text of the authorities to trust for the edge API."""
TOKEN_ID_ANNOTATION = f"{GROUP}/join-token-id"
TOKEN_CREATED_ANNOTATION = f"{GROUP}/join-token-created"
TOKEN_EXPIRES_ANNOTATION = f"{GROUP}/join-token-expires"

WORKER_CONTAINER = "worker"
CHILD_NAME_MAX = 52
"""A StatefulSet's name plus the hash of its revision has to fit into a label of 63 characters."""
POOL_NAME_MAX = 50
"""A pool's name is a label value, and a part of the names of its workers."""

_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")


def child_name(worker_object: str) -> str:
    """Return the name of the children of an EdgeWorker: readable, unique, and good as a host name."""
    plain = f"edge-{worker_object}"
    if len(plain) <= CHILD_NAME_MAX and _LABEL.match(plain):
        return plain
    return _shortened(plain, worker_object, CHILD_NAME_MAX)


def object_name(worker: str) -> str:
    """Return the name of the EdgeWorker that is made for a worker of the fleet."""
    if len(worker) <= 63 and _LABEL.match(worker):
        return worker
    return _shortened(worker, worker, 63)


def _shortened(text: str, source: str, limit: int) -> str:
    digest = hashlib.sha256(source.encode()).hexdigest()[:8]
    safe = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[: limit - 9].strip("-") or "worker"
    return f"{safe}-{digest}"
