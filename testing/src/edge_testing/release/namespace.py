"""One namespace of a cluster, used through kubectl and helm."""

import json
import secrets
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import yaml

from edge_testing.cluster.choice import Cluster
from edge_testing.kubernetes.api import Obj
from edge_testing.release.forward import Forward
from edge_testing.release.helm import Helm
from edge_testing.waiting import eventually


class Namespace:
    """A new namespace; a context manager. The namespace is not deleted at the end."""

    def __init__(self, cluster: Cluster, folder: Path, prefix: str = "edge") -> None:
        self.cluster = cluster
        self.folder = folder
        self.namespace = f"{prefix}-{secrets.token_hex(3)}"
        self.helm = Helm(cluster.helm, cluster.kubeconfig, self.namespace)
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        self.kubectl("create", "namespace", self.namespace)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def forward(self, target: str, port: int) -> Forward:
        """Return a port-forward to a Service or pod."""
        return Forward(self._kubectl(), target, port, self.folder / "forward.log")

    def _kubectl(self) -> list[str]:
        return [str(self.cluster.kubectl), f"--kubeconfig={self.cluster.kubeconfig}", f"--namespace={self.namespace}"]

    def try_kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return its result."""
        command = [*self._kubectl(), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return its output."""
        done = self.try_kubectl(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
        return done.stdout

    def apply(self, *objects: Obj) -> None:
        """Run `kubectl apply`."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, *arguments: str) -> Any:
        """Return `kubectl get ... -o json`."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def find(self, kind: str, name: str) -> Obj | None:
        """Return an object, or None."""
        text = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def status(self, kind: str, name: str) -> Obj:
        """Return the status of an object; empty while there is none."""
        found: Obj = (self.find(kind, name) or {}).get("status") or {}
        return found

    def condition(self, kind: str, name: str, condition: str) -> Obj:
        """Return a condition of an object; empty while there is none."""
        conditions = self.status(kind, name).get("conditions") or []
        return next((one for one in conditions if one["type"] == condition), {})

    def wait_ready(self, kind: str, name: str, deadline_s: float = 120) -> None:
        """Wait until an EdgeWorker or EdgeWorkerPool is Ready."""
        eventually(
            lambda: self.condition(kind, name, "Ready").get("status") == "True",
            f"{kind} {name} is ready",
            deadline_s,
            lambda: self.find(kind, name),
        )

    def pods(self, selector: str) -> list[Obj]:
        """Return the pods that labels select, including those that are being deleted."""
        found: list[Obj] = self.get("pods", f"--selector={selector}")["items"]
        return found

    def component(self, name: str) -> list[Obj]:
        """Return the pods of one of the chart's components."""
        return self.pods(f"app.kubernetes.io/component={name}")

    def images(self, tag: str) -> list[str]:
        """Return the helm arguments for the images of the suite."""
        return [f"--set=image.registry={self.cluster.registry}", f"--set=image.tag={tag}"]
