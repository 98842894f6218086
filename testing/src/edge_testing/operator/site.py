"""One test's own part of the world: a namespace, a database with an edge API, an operator under its rights, a node."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import yaml

from edge_operator.api.names import child_name
from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import admin_credential
from edge_testing.edge_api.process import ApiProcess
from edge_testing.kubernetes.api import Api, Obj
from edge_testing.kubernetes.control_plane import ControlPlane
from edge_testing.operator.node import Node
from edge_testing.operator.process import OperatorProcess
from edge_testing.repository import REPOSITORY
from edge_testing.waiting import DEADLINE_S, eventually

GROUP = "airflow-edge.io"
SERVICE_ACCOUNT = "airflow-edge-operator"
RBAC = REPOSITORY / "operator" / "manifests" / "rbac.yaml"

GROUPS = {
    "edgeworkers": f"/apis/{GROUP}/v1alpha1",
    "edgeworkerpools": f"/apis/{GROUP}/v1alpha1",
    "statefulsets": "/apis/apps/v1",
    "pods": "/api/v1",
    "secrets": "/api/v1",
    "serviceaccounts": "/api/v1",
    "persistentvolumeclaims": "/api/v1",
    "events": "/api/v1",
}
KINDS = {
    **{plural.removesuffix("s"): plural for plural in GROUPS},
    "ew": "edgeworkers",
    "ewp": "edgeworkerpools",
    "pvc": "persistentvolumeclaims",
}


class Site:
    """What a scenario acts on. Objects are made and read with kubectl."""

    def __init__(self, cluster: ControlPlane, namespace: str, folder: Path, api: ApiProcess, db: Db) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.folder = folder
        self.api = api
        self.db = db
        self.token_file = folder / "admin-token"
        self.token_file.write_text(admin_credential(db))
        self.node = Node(cluster, namespace, folder / "node")
        self.operators: list[OperatorProcess] = []
        self._rest = Api(cluster)
        self._paths = {kind: f"{GROUPS[plural]}/namespaces/{namespace}/{plural}" for kind, plural in KINDS.items()}

    def close(self) -> None:
        """Let go of the apiserver."""
        self._rest.close()

    # kubectl

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in the namespace."""
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        """Return `kubectl get ... -o json`."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def find(self, kind: str, name: str) -> Obj | None:
        """Return an object, or None: what `kubectl get -o json` prints, at a hundredth of its cost."""
        return self._rest.call("GET", f"{self._paths[kind]}/{name}")

    def all(self, kind: str, labels: str = "") -> list[Obj]:
        """Return all objects of a kind, or those with labels."""
        query = f"?{urlencode({'labelSelector': labels})}" if labels else ""
        found: list[Obj] = (self._rest.call("GET", self._paths[kind] + query) or {"items": []})["items"]
        return found

    def apply_worker(self, name: str, annotations: dict[str, str] | None = None, **spec: Any) -> None:
        """Apply an EdgeWorker."""
        metadata = {"name": name, **({"annotations": annotations} if annotations else {})}
        self.apply({"kind": "EdgeWorker", "metadata": metadata, "spec": spec})

    def apply_pool(self, name: str, template: Obj, **spec: Any) -> None:
        """Apply an EdgeWorkerPool."""
        self.apply(
            {"kind": "EdgeWorkerPool", "metadata": {"name": name}, "spec": {"template": {"spec": template}, **spec}}
        )

    def apply(self, *objects: Obj) -> None:
        """Run `kubectl apply` on objects of this project."""
        made = [{"apiVersion": f"{GROUP}/v1alpha1", **obj} for obj in objects]
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(made))

    def uid(self, kind: str, name: str) -> str | None:
        """Return the uid of an object, or None."""
        found = self.find(kind, name)
        return found["metadata"]["uid"] if found is not None else None

    def wait_another(self, kind: str, name: str, uid: str | None, deadline_s: float = DEADLINE_S) -> None:
        """Wait until there is another object of the name than that of `uid`."""
        eventually(lambda: self.uid(kind, name) not in (None, uid), f"another {kind} {name}", deadline_s)

    def worker(self, name: str) -> Obj:
        """Return an EdgeWorker."""
        found = self.find("edgeworker", name)
        assert found is not None, f"there is no EdgeWorker {name}"
        return found

    def status(self, name: str) -> Obj:
        """Return the status of an EdgeWorker; empty before the first."""
        found: Obj = (self.find("edgeworker", name) or {}).get("status") or {}
        return found

    def condition(self, name: str, kind: str, resource: str = "edgeworker") -> tuple[str, str]:
        """Return (status, reason) of a condition, or two empty strings."""
        status = (self.find(resource, name) or {}).get("status") or {}
        for condition in status.get("conditions") or []:
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    def wait_condition(
        self, name: str, kind: str, reason: str, resource: str = "edgeworker", deadline_s: float = DEADLINE_S
    ) -> None:
        """Wait until a condition has a reason."""
        asked = f"{resource} {name}: {kind} is {reason}"

        def ask() -> bool:
            return self.condition(name, kind, resource)[1] == reason

        try:
            eventually(ask, asked, deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{asked}: {json.dumps(self.find(resource, name), indent=1)}") from error

    def wait_ready(self, name: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait until an EdgeWorker takes jobs and nothing goes on."""
        self.wait_condition(name, "Ready", "Ready", deadline_s=deadline_s)

    def wait_state(self, name: str, state: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait until an EdgeWorker shows a state."""
        eventually(lambda: self.status(name).get("state") == state, f"{name} is {state}", deadline_s)

    def wait_gone(self, kind: str, name: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait until an object is gone."""
        eventually(lambda: self.find(kind, name) is None, f"{kind} {name} is gone", deadline_s)

    def events(self, name: str) -> dict[str, str]:
        """Return the Events about an object: the last message by reason."""
        about = (event for event in self.all("event") if event["involvedObject"]["name"] == name)
        return {event["reason"]: event["message"] for event in about}

    def wait_event(self, name: str, reason: str) -> str:
        """Wait for an Event about an object, and return its message. Events appear a moment after the change itself."""
        return eventually(lambda: self.events(name).get(reason, ""), f"an Event {reason} about {name}")

    def pod(self, worker: str) -> Obj | None:
        """Return the pod of an EdgeWorker."""
        return self.find("pod", f"{child_name(worker)}-0")

    # The edge API's own view

    def fleet(self, name: str) -> Obj | None:
        """Return a worker as the edge API shows it, or None."""
        headers = {"Authorization": f"Bearer {self.token_file.read_text()}"}
        url = f"{self.api.url}/edge_worker/admin/v1/workers/{name}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:  # noqa: S310
                found: Obj = json.loads(answer.read())
                return found
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
            raise

    def admin(self, method: str, path: str, body: Obj | None = None) -> None:
        """Make an admin request as the command line does."""
        headers = {"Authorization": f"Bearer {self.token_file.read_text()}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        url = f"{self.api.url}/edge_worker/admin/v1{path}"
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            assert answer.status < 300

    def enqueue(self, workload: str, queue: str = "press", count: int = 1, slots: int = 1) -> list[UUID]:
        """Queue jobs whose task is a shell command."""
        return self.db.enqueue(count, workload=workload, queue=queue, slots=slots)

    def enqueue_held(self, count: int = 1) -> list[UUID]:
        """Queue jobs that run until `release`."""
        return self.enqueue(f"while [ ! -e {self.folder / 'go'} ]; do sleep 0.1; done", count=count)

    def release(self) -> None:
        """Let the held jobs end."""
        (self.folder / "go").touch()

    def wait_job(self, job: UUID, state: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait until a job is in a state."""
        eventually(lambda: self.db.state(job) == state, f"job {job} is {state}", deadline_s)

    # The operator

    def start_operator(
        self, home: str | None = None, apiserver_url: str | None = None, **settings: Any
    ) -> OperatorProcess:
        """Start an operator that works in the namespace under the rights of `operator/manifests/rbac.yaml`.

        `home` is the namespace of its ServiceAccount; `apiserver_url` is that of a relay to the apiserver.
        """
        token = self.cluster.service_account_token(home or self.namespace, SERVICE_ACCOUNT)
        path = self.folder / f"operator-{len(self.operators)}.kubeconfig"
        kubeconfig = self.cluster.write_kubeconfig(path, token, url=apiserver_url)
        defaults = {
            "api_url": self.api.url,
            "admin_token_file": self.token_file,
            "worker_image": "airflow-edge-worker:test",
            "namespaces": self.namespace,
            "lease_namespace": self.namespace,
            "external_namespace": self.namespace,
            "minor_interval_s": 0.5,
            "autoscale_s": 0.5,
            "api_patience_s": 3,
            "stop_margin_s": 4,
        }
        log = self.folder / f"operator-{len(self.operators)}.log"
        operator = OperatorProcess(kubeconfig, log, **(defaults | settings))
        self.operators.append(operator)
        operator.start()
        return operator

    def grant(self, *, cluster_wide: bool = False, change: Callable[[list[Obj]], None] | None = None) -> None:
        """Create the operator's ServiceAccount and its rights; `change` may remove some."""
        rules = list(yaml.safe_load_all(RBAC.read_text()))
        if change is not None:
            change(rules)
        name = f"airflow-edge-operator-{self.namespace}"
        rules[0]["metadata"]["name"] = name
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": SERVICE_ACCOUNT}}
        subject = {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": self.namespace}
        kind = "ClusterRoleBinding" if cluster_wide else "RoleBinding"
        self.cluster.apply(
            account,
            *rules,
            _binding(kind, name, "ClusterRole", name, subject),
            _binding("RoleBinding", "leader", "Role", rules[1]["metadata"]["name"], subject),
            namespace=self.namespace,
        )

    def writes(self) -> int:
        """Return how many writes the operator has made, except to its Lease (from the audit log)."""
        user = f"system:serviceaccount:{self.namespace}:{SERVICE_ACCOUNT}"
        count = 0
        for line in self.cluster.audit_log.read_text().splitlines():
            event = json.loads(line)
            if event["user"].get("username") == user and (event.get("objectRef") or {}).get("resource") != "leases":
                count += 1
        return count


def _binding(kind: str, name: str, role_kind: str, role: str, subject: Obj) -> Obj:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
        "subjects": [subject],
    }
