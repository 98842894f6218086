"""A real control plane on loopback for tests: etcd, kube-apiserver (RBAC, audit log) and kube-controller-manager."""

import base64
import json
import os
import secrets
import shutil
import subprocess
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from edge_demo.environment import free_port
from edge_demo.processes import ManagedProcess, wait_until
from edge_testing.kubernetes.certificates import write_certificates
from edge_testing.programs.binaries import Binaries

START_TIMEOUT_S = 60.0
SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
"""The apiserver's address for pods: the first one of that range."""

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    # Metadata of writes only: tests count them.
    "rules": [{"level": "None", "verbs": ["get", "list", "watch"]}, {"level": "Metadata"}],
}


USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", "system:authenticated"),
}
"""Users that get a token and a kubeconfig, with name and group."""


class ControlPlane:
    """A cluster without nodes; a context manager. At the end its programs are killed, since nobody needs its data."""

    address = "127.0.0.1"
    """Where the apiserver listens."""
    names: tuple[str, ...] = ("localhost",)
    """Its host names."""
    users = USERS
    authorizers = "RBAC"
    more_apiserver_arguments: tuple[str, ...] = ()
    controllers = "statefulset,garbagecollector,namespace,serviceaccount,serviceaccount-token,pvc-protection"
    """The controllers that tests without nodes need."""

    def __init__(self, folder: Path, binaries: Binaries) -> None:
        self.folder = folder
        self.binaries = binaries
        self._processes: dict[str, ManagedProcess] = {}
        self._tokens = {name: secrets.token_hex(16) for name in self.users}
        self._etcd_port, self._etcd_peer_port, self._port = (free_port() for _ in range(3))

    @property
    def url(self) -> str:
        """URL of the apiserver."""
        return f"https://{self.address}:{self._port}"

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of an administrator."""
        return self.folder / "admin.kubeconfig"

    @property
    def admin_token(self) -> str:
        """Bearer token of an administrator."""
        return self._tokens["admin"]

    @property
    def audit_log(self) -> Path:
        """One JSON event per write that reached the apiserver."""
        return self.folder / "audit.log"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_certificates(self.folder, (self.address, SERVICE_ADDRESS), self.names)
        self._write_settings()
        try:
            self._start_etcd()
            self.start_apiserver()
            self._start_controller_manager()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in ("controller-manager", "apiserver", "etcd"):
            self._kill(name)

    def write_kubeconfig(self, path: Path, token: str, namespace: str = "default", url: str | None = None) -> Path:
        """Write a kubeconfig with a token; `url` is that of a relay to the apiserver."""
        cluster = {"server": url or self.url, "certificate-authority": str(self.folder / "ca.crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user", "namespace": namespace}}],
            "current-context": "test",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path

    def start_apiserver(self) -> None:
        """Start the apiserver and wait until it is ready."""
        self._run(
            "apiserver",
            str(self.binaries.apiserver),
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--bind-address={self.address}",
            f"--secure-port={self._port}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--tls-cert-file=apiserver.crt",
            "--tls-private-key-file=apiserver.key",
            "--token-auth-file=tokens.csv",
            f"--authorization-mode={self.authorizers}",
            "--allow-privileged",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-signing-key-file=sa.key",
            "--service-account-key-file=sa.key",
            "--api-audiences=https://kubernetes.default.svc",
            "--audit-policy-file=audit-policy.yaml",
            "--audit-log-path=audit.log",
            "--audit-log-mode=blocking-strict",
            *self.more_apiserver_arguments,
        )
        self._wait_ready("apiserver", ["get", "--raw", "/readyz"])

    def stop_apiserver(self) -> None:
        """Stop the apiserver as a crash would."""
        self._kill("apiserver")

    def compact(self) -> None:
        """Compact etcd's history, so that the apiserver answers older watches with 410 Gone."""
        revision = self._etcd("range", {"key": base64.b64encode(b"x").decode()})["header"]["revision"]
        self._etcd("compaction", {"revision": revision, "physical": True})

    def _etcd(self, call: str, body: dict[str, Any]) -> Any:
        url = f"http://127.0.0.1:{self._etcd_port}/v3/kv/{call}"
        with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=20) as answer:
            return json.loads(answer.read())

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """Run kubectl and return its output; a failure raises AssertionError with its error message."""
        done = self.try_kubectl(*arguments, stdin=stdin, kubeconfig=kubeconfig)
        if done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def try_kubectl(
        self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return its result."""
        command = [str(self.binaries.kubectl), f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments]
        cache = f"--cache-dir={self.folder / 'kubectl-cache'}"
        return subprocess.run([*command, cache], input=stdin, capture_output=True, text=True, timeout=120, check=False)

    def get(self, *arguments: str) -> Any:
        """Return `kubectl get ... -o json`."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *manifests: dict[str, Any], namespace: str | None = None) -> None:
        """Run `kubectl apply` on objects."""
        where = ["-n", namespace] if namespace else []
        self.kubectl("apply", *where, "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def install_crds(self, folder: Path) -> None:
        """Apply the custom resource definitions of a folder and wait until they are served."""
        self.kubectl("apply", "-f", str(folder))
        self.kubectl("wait", "--for=condition=Established", "-f", str(folder))
        # kubectl caches the known types for hours.
        shutil.rmtree(self.folder / "kubectl-cache", ignore_errors=True)

    def service_account_token(self, namespace: str, name: str) -> str:
        """Return a token of a service account, as a pod would get it."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = json.loads(self.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(request)))
        token: str = answer["status"]["token"]
        return token

    def _write_settings(self) -> None:
        lines = [
            f'{token},{self.users[name][0]},{name},"{self.users[name][1]}"' for name, token in self._tokens.items()
        ]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")
        (self.folder / "audit-policy.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))
        for name, token in self._tokens.items():
            self.write_kubeconfig(self.folder / f"{name}.kubeconfig", token)

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._etcd_peer_port))
        self._run(
            "etcd",
            str(self.binaries.etcd),
            "--data-dir=etcd",
            # The data need not survive a crash of the machine.
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )

    def _start_controller_manager(self) -> None:
        self._run(
            "controller-manager",
            str(self.binaries.controller_manager),
            "--kubeconfig=controller-manager.kubeconfig",
            "--service-account-private-key-file=sa.key",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--port=0",
            f"--secure-port={free_port()}",
            f"--controllers={self.controllers}",
            "--root-ca-file=ca.crt",
            "--concurrent-statefulset-syncs=20",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            # Tests wait for the autoscaler; its default is 15 seconds.
            "--horizontal-pod-autoscaler-sync-period=2s",
        )
        self._wait_ready("controller-manager", ["get", "serviceaccount", "default", "-n", "default"])

    def _run(self, name: str, *command: str) -> None:
        process = ManagedProcess(name, command, os.environ, self.folder / f"{name}.log", self.folder)
        process.start()
        self._processes[name] = process

    def _kill(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()

    def _wait_ready(self, name: str, question: list[str]) -> None:
        wait_until(
            lambda: self.try_kubectl(*question).returncode == 0,
            f"{name} is ready",
            START_TIMEOUT_S,
            [self._processes[name]],
        )
