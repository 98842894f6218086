"""Installs the chart on a real apiserver."""

import json
import subprocess
from pathlib import Path
from typing import Any

from edge_testing.chart.render import helm
from edge_testing.kubernetes.control_plane import ControlPlane
from edge_testing.repository import CHART


class Installation:
    """A namespace for one release, installed without hooks: without nodes their Jobs would never end."""

    def __init__(self, cluster: ControlPlane, namespace: str, program: Path | None = None) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.program = program

    def helm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run helm in the namespace to its end."""
        kubeconfig = f"--kubeconfig={self.cluster.kubeconfig}"
        return helm(*arguments, "-n", self.namespace, kubeconfig, program=self.program)

    def install(self, *arguments: str) -> None:
        """Install the chart as release `edge`."""
        done = self.helm("install", "edge", str(CHART), "--no-hooks", *arguments)
        assert done.returncode == 0, done.stderr

    def upgrade(self, *arguments: str) -> None:
        """Upgrade the release `edge`."""
        done = self.helm("upgrade", "edge", str(CHART), "--no-hooks", *arguments)
        assert done.returncode == 0, done.stderr

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in the namespace and return what it prints."""
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        """Return `kubectl get ... -o json`."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def secrets(self) -> dict[str, dict[str, str]]:
        """Return the data of the release's Secrets, by name."""
        found = self.get("secret", "-l", "app.kubernetes.io/name=airflow-edge")["items"]
        return {secret["metadata"]["name"]: secret["data"] for secret in found}
