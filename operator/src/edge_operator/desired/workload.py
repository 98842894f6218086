"""The pod of a Managed worker, and the hash that says when it has to be made anew."""

import hashlib
import json
from dataclasses import dataclass

from edge_operator.api import names
from edge_operator.api.types import EdgeWorker, Obj, WorkerSpec

STATE_FOLDER = "/var/lib/airflow-edge"
TOKEN_FOLDER = "/run/airflow-edge"  # noqa: S105  (a folder)
TOKEN_KEY = "join-token"  # noqa: S105  (a key in a Secret)
TOKEN_FILE = f"{TOKEN_FOLDER}/{TOKEN_KEY}"
TRUST_FOLDER = "/run/airflow-edge-trust"
TRUST_FILE = "ca.crt"
USER_ID = 50000
"""The user of Airflow's own images, so that DAG bundles and images built on those have their files in reach."""
LIVE_ENV = frozenset({"EDGE_WORKER_QUEUES", "EDGE_WORKER_CONCURRENCY"})
"""What a running worker takes up without a restart, so a change of it leaves the hash as it is."""


@dataclass(frozen=True, slots=True)
class PodDefaults:
    """What the operator's own settings say about pods."""

    image: str
    api_url: str
    """URL under which pods reach the edge API."""
    stop_margin_s: int
    """Seconds that a pod gets on top of its drain timeout."""
    authorities: str | None = None
    """PEM text of the authorities to trust for the edge API; None: those of the image."""


def pod_template(worker: EdgeWorker, spec: WorkerSpec, defaults: PodDefaults) -> Obj:
    """Return the pod template of the worker's StatefulSet, its hash among the annotations."""
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
    # A pod mounts it as a file from here, so no object has to be kept in each namespace.
    return given if defaults.authorities is None else given | {names.AUTHORITIES_ANNOTATION: defaults.authorities}


def template_hash(template: Obj) -> str:
    """Return a short hash of everything in a pod template that takes a new pod to change."""
    text = json.dumps(template, sort_keys=True, default=str)
    spec: Obj = json.loads(text)["spec"]
    container = spec["containers"][0]
    container["env"] = [variable for variable in container["env"] if variable["name"] not in LIVE_ENV]
    # The grace is read when a pod is deleted, and deletions name their own.
    spec.pop("terminationGracePeriodSeconds")
    whole = {"spec": spec, "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"]}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def grace_seconds(spec: WorkerSpec, defaults: PodDefaults) -> int:
    """Return how long a pod may take to stop."""
    return spec.drain_timeout_seconds + defaults.stop_margin_s


def _labels(worker: EdgeWorker, spec: WorkerSpec) -> dict[str, str]:
    labels = dict(spec.template.labels) | selector_labels(worker)
    if worker.pool:
        labels[names.POOL_LABEL] = worker.pool
    return labels


def selector_labels(worker: EdgeWorker) -> dict[str, str]:
    """Return the labels that find the pods of one worker."""
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
        "volumes": [*_volumes(worker, spec), *_trust(defaults, _TRUST_VOLUME), *template.volumes],
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
        # Not `args`: what the image starts by itself does not matter.
        "command": ["edge-worker", "run"],
        "env": [*_env(worker, spec, defaults), *(variable.model_dump(by_alias=False) for variable in template.env)],
        "volumeMounts": [
            {"name": "spool", "mountPath": STATE_FOLDER},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (inside the container)
            {"name": "join-token", "mountPath": TOKEN_FOLDER, "readOnly": True},
            *_trust(defaults, _TRUST_MOUNT),
            *template.volume_mounts,
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # Its last line says why it has stopped; conditions tell it.
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
    """Ask the agent through its local socket: it answers while the edge API is away, so an outage restarts nothing."""
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
    if spec.dag_bundles:
        bundles = [bundle.model_dump(by_alias=True) for bundle in spec.dag_bundles]
        values["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(bundles)
    if defaults.authorities is not None:
        values["EDGE_WORKER_CA_BUNDLE"] = f"{TRUST_FOLDER}/{TRUST_FILE}"
    return [{"name": name, "value": value} for name, value in values.items()]


_TRUST_REFERENCE = {"fieldPath": f"metadata.annotations['{names.AUTHORITIES_ANNOTATION}']"}
_TRUST_VOLUME = {"name": "trust", "downwardAPI": {"items": [{"path": TRUST_FILE, "fieldRef": _TRUST_REFERENCE}]}}
_TRUST_MOUNT = {"name": "trust", "mountPath": TRUST_FOLDER, "readOnly": True}


def _trust(defaults: PodDefaults, part: Obj) -> list[Obj]:
    return [part] if defaults.authorities is not None else []


def _volumes(worker: EdgeWorker, spec: WorkerSpec) -> list[Obj]:
    size = {"sizeLimit": spec.spool.size}
    on_claim = spec.spool.type == "PersistentVolumeClaim"
    spool = {"persistentVolumeClaim": {"claimName": worker.child_name}} if on_claim else {"emptyDir": size}
    # Optional: a worker that has its credential starts without the Secret.
    secret = {"secretName": worker.child_name, "optional": True, "defaultMode": 0o440}
    return [{"name": "spool", **spool}, {"name": "tmp", "emptyDir": {}}, {"name": "join-token", "secret": secret}]
