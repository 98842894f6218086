"""The objects that belong to an EdgeWorker, as they should be."""

import base64
from datetime import datetime

from edge_operator.api import names
from edge_operator.api.quantities import timestamp
from edge_operator.api.types import EdgeWorker, Meta, Obj, WorkerSpec
from edge_operator.desired.workload import TOKEN_KEY, PodDefaults, pod_template, selector_labels


def owner_reference(kind: str, meta: Meta) -> Obj:
    """Return the reference by which the garbage collector removes an object together with its owner."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        # True would need the right to set finalizers on the owner.
        "blockOwnerDeletion": False,
    }


def _metadata(worker: EdgeWorker) -> Obj:
    return {
        "name": worker.child_name,
        "namespace": worker.meta.namespace,
        "labels": selector_labels(worker),
        "ownerReferences": [owner_reference(names.WORKER_KIND, worker.meta)],
    }


def stateful_set(worker: EdgeWorker, spec: WorkerSpec, defaults: PodDefaults) -> Obj:
    """Return the StatefulSet: one pod with a stable name, or none while the worker is shut down.

    OnDelete: the operator decides when the pod is replaced.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(worker),
        "spec": {
            "replicas": 0 if names.SHUTDOWN in worker.meta.annotations else 1,
            "serviceName": worker.child_name,
            "selector": {"matchLabels": selector_labels(worker)},
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 1,
            "template": pod_template(worker, spec, defaults),
        },
    }


def service_account(worker: EdgeWorker) -> Obj:
    """Return the pod's service account, which has no rights and no token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(worker),
        "automountServiceAccountToken": False,
    }


def claim(worker: EdgeWorker, spec: WorkerSpec) -> Obj:
    """Return the claim for the spool.

    It is not one of the StatefulSet's claim templates: those can't be changed and stay behind after a deletion.
    """
    body: Obj = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": spec.spool.size}},
    }
    if spec.spool.storage_class_name is not None:
        body["storageClassName"] = spec.spool.storage_class_name
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": _metadata(worker), "spec": body}


def token_secret(worker: EdgeWorker, token: str, token_id: str, created: datetime, expires: datetime) -> Obj:
    """Return the Secret with a join token; the annotations say when it has to be replaced, without the token itself."""
    metadata = _metadata(worker)
    metadata["annotations"] = {
        names.TOKEN_ID_ANNOTATION: token_id,
        names.TOKEN_CREATED_ANNOTATION: timestamp(created),
        names.TOKEN_EXPIRES_ANNOTATION: timestamp(expires),
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata,
        "data": {TOKEN_KEY: base64.b64encode(token.encode()).decode()},
    }
