"""The desired workload of an EdgeWorker: StatefulSet, pod template, service account, spool claim, join token Secret.

The hash of the pod template says when a pod must be replaced.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from edge_operator.api import names
from edge_operator.api.types import EdgeWorker, Meta, Obj, WorkerSpec, timestamp

STATE_FOLDER = "/var/lib/airflow-edge"
TOKEN_FOLDER = "/run/airflow-edge"  # noqa: S105  (a folder)
TOKEN_KEY = "join-token"  # noqa: S105  (a key in a Secret)
TOKEN_FILE = f"{TOKEN_FOLDER}/{TOKEN_KEY}"
CA_FOLDER = "/run/airflow-edge-ca"
CA_FILE = "ca.crt"
USER_ID = 50000
"""The user of Airflow's own images, so that files of DAG bundles and of images based on those are accessible."""
LIVE_ENV = frozenset({"EDGE_WORKER_QUEUES", "EDGE_WORKER_CONCURRENCY"})
"""Variables that a running worker can change without a restart, so they are not part of the hash."""


@dataclass(frozen=True, slots=True)
class PodDefaults:
    """The operator's settings for pods."""

    image: str
    api_url: str
    """Base URL at which pods reach the edge API."""
    stop_margin_s: int
    """Seconds that a pod gets to stop, in addition to its drain timeout."""
    ca_bundle: str | None = None
    """PEM text of the CA certificates to trust for the edge API; None: those of the image."""


def owner_reference(kind: str, meta: Meta) -> Obj:
    """Return the owner reference with which the garbage collector deletes an object after its owner."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        # True would require the right to set finalizers on the owner.
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

    The update strategy is OnDelete because the operator decides when the pod is replaced.
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

    It is not a claim template of the StatefulSet: those can't be changed, and their claims outlive a deletion.
    """
    body: Obj = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": spec.spool.size}},
    }
    if spec.spool.storage_class_name is not None:
        body["storageClassName"] = spec.spool.storage_class_name
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": _metadata(worker), "spec": body}


def token_secret(worker: EdgeWorker, token: str, token_id: str, created: datetime, expires: datetime) -> Obj:
    """Return the Secret with a join token; its annotations say when the token must be replaced."""
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


def pod_template(worker: EdgeWorker, spec: WorkerSpec, defaults: PodDefaults) -> Obj:
    """Return the pod template of the worker's StatefulSet, with its hash as an annotation."""
    body: Obj = {
        "metadata": {"labels": _labels(worker, spec), "annotations": _annotations(spec, defaults)},
        "spec": _pod_spec(worker, spec, defaults),
    }
    body["metadata"]["annotations"] |= {
        names.OBJECT_ANNOTATION: worker.meta.name,
        names.HASH_ANNOTATION: template_hash(body),
    }
    return body


def _annotations(spec: WorkerSpec, defaults: PodDefaults) -> dict[str, str]:
    given = dict(spec.template.annotations)
    # The pod mounts this as a file, so no object has to be kept in each namespace.
    return given if defaults.ca_bundle is None else given | {names.CA_BUNDLE_ANNOTATION: defaults.ca_bundle}


def template_hash(template: Obj) -> str:
    """Return a short hash of everything in a pod template that requires a new pod to change."""
    text = json.dumps(template, sort_keys=True, default=str)
    spec: Obj = json.loads(text)["spec"]
    container = spec["containers"][0]
    container["env"] = [variable for variable in container["env"] if variable["name"] not in LIVE_ENV]
    # The grace period is read when a pod is deleted, and the operator's deletions specify their own.
    spec.pop("terminationGracePeriodSeconds")
    whole = {"spec": spec, "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"]}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def grace_seconds(spec: WorkerSpec, defaults: PodDefaults) -> int:
    """Return the grace period of a pod."""
    return spec.drain_timeout_seconds + defaults.stop_margin_s


def _labels(worker: EdgeWorker, spec: WorkerSpec) -> dict[str, str]:
    labels = dict(spec.template.labels) | selector_labels(worker)
    if worker.pool:
        labels[names.POOL_LABEL] = worker.pool
    return labels


def selector_labels(worker: EdgeWorker) -> dict[str, str]:
    """Return the labels that select the pods of one worker."""
    return {names.MANAGED_BY_LABEL: names.FIELD_MANAGER, names.WORKER_LABEL: worker.child_name}


def _pod_spec(worker: EdgeWorker, spec: WorkerSpec, defaults: PodDefaults) -> Obj:
    template = spec.template
    security: Obj = {"runAsNonRoot": True, "runAsUser": USER_ID, "runAsGroup": USER_ID, "fsGroup": USER_ID}
    pod: Obj = {
        "serviceAccountName": template.service_account_name or worker.child_name,
        # The worker never calls the apiserver.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds(spec, defaults),
        "securityContext": security | {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(worker, spec, defaults)],
        "volumes": [*_volumes(worker, spec), *_ca(defaults, _CA_VOLUME), *template.volumes],
    }
    optional: Obj = {
        "nodeSelector": template.node_selector,
        "tolerations": template.tolerations,
        "affinity": template.affinity,
        "imagePullSecrets": template.image_pull_secrets,
    }
    return pod | {key: value for key, value in optional.items() if value}


def _container(worker: EdgeWorker, spec: WorkerSpec, defaults: PodDefaults) -> Obj:
    template = spec.template
    container: Obj = {
        "name": names.WORKER_CONTAINER,
        "image": template.image or defaults.image,
        # Not `args`: the image's own entry point must not matter.
        "command": ["edge-worker", "run"],
        "env": [*_env(worker, spec, defaults), *(variable.model_dump(by_alias=False) for variable in template.env)],
        "volumeMounts": [
            {"name": "spool", "mountPath": STATE_FOLDER},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (inside the container)
            {"name": "join-token", "mountPath": TOKEN_FOLDER, "readOnly": True},
            *_ca(defaults, _CA_MOUNT),
            *template.volume_mounts,
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # The last line says why the agent has stopped; conditions show it.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "startupProbe": _probe(period_s=5, failures=60),
        "readinessProbe": _probe(period_s=30, failures=2),
        "livenessProbe": _probe(period_s=60, failures=5),
    }
    optional: Obj = {
        "imagePullPolicy": template.image_pull_policy,
        "envFrom": template.env_from,
        "resources": template.resources,
    }
    return container | {key: value for key, value in optional.items() if value}


def _probe(period_s: int, failures: int) -> Obj:
    """Ask the agent through its local socket: it answers during an outage of the edge API too, so no pod restarts."""
    command = ["edge-worker", "status"]
    return {"exec": {"command": command}, "periodSeconds": period_s, "timeoutSeconds": 10, "failureThreshold": failures}


def _env(worker: EdgeWorker, spec: WorkerSpec, defaults: PodDefaults) -> list[Obj]:
    values = {
        "EDGE_WORKER_API_URL": defaults.api_url,
        "EDGE_WORKER_NAME": worker.worker_name,
        "EDGE_WORKER_STATE_DIR": STATE_FOLDER,
        "EDGE_WORKER_JOIN_TOKEN_FILE": TOKEN_FILE,
        "EDGE_WORKER_DRAIN_TIMEOUT_S": str(spec.drain_timeout_seconds),
        "AIRFLOW_HOME": f"{STATE_FOLDER}/airflow",
    }
    if spec.queues is not None:
        values["EDGE_WORKER_QUEUES"] = ",".join(spec.queues)
    if spec.concurrency is not None:
        values["EDGE_WORKER_CONCURRENCY"] = str(spec.concurrency)
    if spec.outage_tolerance_seconds is not None:
        values["EDGE_WORKER_OUTAGE_TOLERANCE_S"] = str(spec.outage_tolerance_seconds)
    if spec.dag_bundles:
        bundles = [bundle.model_dump(by_alias=True) for bundle in spec.dag_bundles]
        values["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(bundles)
    if _is_plain_http_inside(defaults.api_url):
        values["EDGE_WORKER_ALLOW_PLAIN_HTTP"] = "true"
    if defaults.ca_bundle is not None:
        values["EDGE_WORKER_CA_BUNDLE"] = f"{CA_FOLDER}/{CA_FILE}"
    return [{"name": name, "value": value} for name, value in values.items()]


def _is_plain_http_inside(url: str) -> bool:
    """Return whether a URL is plain HTTP to a Service of the cluster; a worker refuses it to any other host."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "http" and ("." not in host or host.endswith(".svc") or ".svc." in host)


_CA_REFERENCE = {"fieldPath": f"metadata.annotations['{names.CA_BUNDLE_ANNOTATION}']"}
_CA_VOLUME = {"name": "ca-bundle", "downwardAPI": {"items": [{"path": CA_FILE, "fieldRef": _CA_REFERENCE}]}}
_CA_MOUNT = {"name": "ca-bundle", "mountPath": CA_FOLDER, "readOnly": True}


def _ca(defaults: PodDefaults, part: Obj) -> list[Obj]:
    return [part] if defaults.ca_bundle is not None else []


def _volumes(worker: EdgeWorker, spec: WorkerSpec) -> list[Obj]:
    size = {"sizeLimit": spec.spool.size}
    on_claim = spec.spool.type == "PersistentVolumeClaim"
    spool = {"persistentVolumeClaim": {"claimName": worker.child_name}} if on_claim else {"emptyDir": size}
    # Optional: a worker that already has a credential starts without the Secret.
    items = [{"key": TOKEN_KEY, "path": TOKEN_KEY}]
    secret = {"secretName": worker.child_name, "items": items, "optional": True, "defaultMode": 0o440}
    return [{"name": "spool", **spool}, {"name": "tmp", "emptyDir": {}}, {"name": "join-token", "secret": secret}]
