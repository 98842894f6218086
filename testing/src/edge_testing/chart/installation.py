"""Installs the chart on a real apiserver."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from edge_testing.chart.render import Rendered, helm, render
from edge_testing.kubernetes.control_plane import ControlPlane
from edge_testing.repository import CHART

HOOK_TIMEOUT_S = 60


class Installation:
    """A namespace for one release, installed without hooks: without nodes their Jobs would never end.

    A hook's command runs as a process, with exactly the rights that the chart grants to the hook.
    """

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

    def grant_hook(self, made: Rendered, account: str, folder: Path) -> Path:
        """Grant a hook's rights and return a kubeconfig of its service account."""
        kinds = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
        objects = [obj for obj in made.objects if obj["kind"] in kinds and obj["metadata"]["name"].endswith(account)]
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
        token = self.cluster.service_account_token(self.namespace, account)
        return self.cluster.write_kubeconfig(folder / f"{account}.kubeconfig", token, self.namespace)

    def start_hook(self, kubeconfig: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of `edge-operator`."""
        environment = {"EDGE_OPERATOR_KUBECONFIG": str(kubeconfig), "EDGE_OPERATOR_NAMESPACES": self.namespace}
        command = [sys.executable, "-m", "edge_operator.cli", *arguments]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def create_secrets(self, folder: Path) -> str:
        """Run the hook that creates Secrets, for the default values; return its log."""
        made = render("platform", "--namespace", self.namespace)
        kubeconfig = self.grant_hook(made, "edge-secrets", folder)
        program, *arguments = made.one("Job", "edge-secrets")["spec"]["template"]["spec"]["containers"][0]["args"]
        assert program == "edge-operator"
        code, log = finished(self.start_hook(kubeconfig, *arguments))
        assert code == 0, log
        return log

    def secrets(self) -> dict[str, dict[str, str]]:
        """Return the data of the release's Secrets, by name."""
        found = self.get("secret", "-l", "app.kubernetes.io/name=airflow-edge")["items"]
        return {secret["metadata"]["name"]: secret["data"] for secret in found}


def finished(hook: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a hook's command; return its exit code and its log."""
    _, log = hook.communicate(timeout=HOOK_TIMEOUT_S)
    return hook.returncode, log
