"""Names that the operator writes or reads: groups, labels, annotations, finalizers, and the names of child objects."""

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
"""Keeps a deleted EdgeWorker until its worker is drained and removed from the fleet."""

MAINTENANCE = f"{GROUP}/maintenance"
"""Annotation: puts the worker into maintenance; the value is the comment."""
SHUTDOWN = f"{GROUP}/shutdown"
"""Annotation: drains the worker and shuts it down; it stays down while the annotation is there."""
FORCE_DELETE = f"{GROUP}/force-delete"
"""Annotation: the deletion does not wait for running tasks."""

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY_SELECTOR = f"{MANAGED_BY_LABEL}={FIELD_MANAGER}"
"""Selects the StatefulSets, pods, service accounts and claims that the operator created; only these are watched."""
WORKER_LABEL = f"{GROUP}/worker"
"""On child objects: the name that they share."""
POOL_LABEL = f"{GROUP}/pool"
"""On the EdgeWorkers and pods of a pool: the pool's name."""
DISCOVERED_LABEL = f"{GROUP}/discovered"
"""On EdgeWorkers that the operator created for workers that enrolled without one."""

OBJECT_ANNOTATION = f"{GROUP}/edgeworker"
"""On pods: the name of the EdgeWorker, which may be too long for a label."""
HASH_ANNOTATION = f"{GROUP}/template-hash"
"""On pods: hash of the pod template, without the fields that a running worker can change without a restart."""
CA_BUNDLE_ANNOTATION = f"{GROUP}/ca-bundle"
"""On pods: PEM text of the CA certificates to trust for the edge API."""
TOKEN_ID_ANNOTATION = f"{GROUP}/join-token-id"
TOKEN_CREATED_ANNOTATION = f"{GROUP}/join-token-created"
TOKEN_EXPIRES_ANNOTATION = f"{GROUP}/join-token-expires"

WORKER_CONTAINER = "worker"
CHILD_PREFIX = "edgeworker-"
"""Begins the names of child objects. The chart refuses releases whose own objects would begin with it."""
CHILD_NAME_MAX = 52
"""A StatefulSet's name plus the hash of its revision must fit into a label value (63 characters)."""
POOL_NAME_MAX = 50
"""A pool's name is a label value, and the prefix of the names of its workers."""

_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")


def child_name(worker_object: str) -> str:
    """Return the name of the child objects of an EdgeWorker: readable, unique, and valid as a host name."""
    plain = f"{CHILD_PREFIX}{worker_object}"
    if len(plain) <= CHILD_NAME_MAX and _LABEL.match(plain):
        return plain
    return _shortened(plain, worker_object, CHILD_NAME_MAX)


def object_name(worker: str) -> str:
    """Return the name of the EdgeWorker to create for a worker of the fleet."""
    if len(worker) <= 63 and _LABEL.match(worker):
        return worker
    return _shortened(worker, worker, 63)


def _shortened(text: str, source: str, limit: int) -> str:
    digest = hashlib.sha256(source.encode()).hexdigest()[:8]
    safe = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[: limit - 9].strip("-") or "worker"
    return f"{safe}-{digest}"
