"""A real cluster with one node on this machine: pods, Services, NetworkPolicies, probes, DNS, volumes. Needs root.

Only one can exist at a time, since the node's address and the pods' range are fixed.
"""

import fcntl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import yaml

from edge_demo.environment import free_port
from edge_images.cache import cache_folder
from edge_images.commands import UnavailableError
from edge_testing.cluster import network
from edge_testing.cluster.network import NODE_ADDRESS, POD_RANGE, ServiceNames
from edge_testing.cluster.policies import NetworkPolicies
from edge_testing.cluster.runtime import Containerd, remove_folder
from edge_testing.kubernetes.control_plane import USERS, ControlPlane
from edge_testing.programs.binaries import Binaries
from edge_testing.programs.packages import install_node_packages

NODE = "node1"
STORAGE_CLASS = "standard"
VOLUMES = 20
READY_TIMEOUT_S = 60.0
OTHERS_TIMEOUT_S = 600.0
HEAVY_FOLDERS = ("kubelet", "containerd", "etcd", "volumes")
"""Folders that are removed at the end; logs and settings stay."""


class OneNodeCluster(ControlPlane):
    """A context manager. At its end everything is stopped and removed, including the images."""

    address = NODE_ADDRESS
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    users = USERS | {
        "scheduler": ("system:kube-scheduler", "system:authenticated"),
        "kubelet": (f"system:node:{NODE}", "system:nodes"),
        "kube-proxy": ("system:kube-proxy", "system:authenticated"),
    }
    authorizers = "Node,RBAC"
    more_apiserver_arguments = (
        f"--advertise-address={NODE_ADDRESS}",
        "--enable-admission-plugins=NodeRestriction",
        "--kubelet-client-certificate=kubelet-client.crt",
        "--kubelet-client-key=kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
    )
    controllers = "*"

    def __init__(self, folder: Path, binaries: Binaries) -> None:
        super().__init__(folder, binaries)
        self._closing = ExitStack()
        self.containerd = Containerd(folder / "containerd", folder / "cni")

    def __enter__(self) -> Self:
        install_node_packages()
        self._closing.enter_context(_only_one())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            network.bring_up(self.folder / "cni")
            self._closing.callback(network.take_down)
            self._closing.enter_context(self.containerd)
            super().__enter__()
            kubectl = [str(self.binaries.kubectl), f"--kubeconfig={self.kubeconfig}"]
            self._closing.enter_context(ServiceNames(self.folder, kubectl))
            self._closing.enter_context(NetworkPolicies(kubectl))
            self._start_node()
            self._make_volumes()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in ("kube-proxy", "kubelet", "scheduler"):
            self._terminate(name)
        super().__exit__(kind, error, trace)
        proxy = self.binaries.of_node("kube-proxy")
        subprocess.run([str(proxy), "--cleanup"], capture_output=True, timeout=60, check=False)
        self._closing.close()
        for name in HEAVY_FOLDERS:
            remove_folder(self.folder / name)

    def _start_node(self) -> None:
        metrics, health, port = (free_port() for _ in range(3))
        scheduler = str(self.binaries.of_node("kube-scheduler"))
        ports = ("--port=0", f"--secure-port={free_port()}")
        self._run("scheduler", scheduler, "--kubeconfig=scheduler.kubeconfig", "--leader-elect=false", *ports)
        (self.folder / "kubelet.yaml").write_text(yaml.safe_dump(self._kubelet_settings(port, health)))
        self._run(
            "kubelet",
            str(self.binaries.of_node("kubelet")),
            "--kubeconfig=kubelet.kubeconfig",
            "--config=kubelet.yaml",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_ADDRESS}",
            "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{self.containerd.socket}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet-certificates'}",
        )
        self._run(
            "kube-proxy",
            str(self.binaries.of_node("kube-proxy")),
            "--kubeconfig=kube-proxy.kubeconfig",
            "--proxy-mode=iptables",
            f"--cluster-cidr={POD_RANGE}",
            f"--hostname-override={NODE}",
            "--conntrack-max-per-core=0",
            f"--metrics-bind-address=127.0.0.1:{metrics}",
            "--healthz-bind-address=",
        )
        self._wait_ready("kubelet", ["get", "node", NODE])
        self.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", f"--timeout={READY_TIMEOUT_S:g}s")

    def _kubelet_settings(self, port: int, health: int) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_ADDRESS,
            "port": port,
            "healthzPort": health,
            "cgroupDriver": "cgroupfs",
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "clusterDomain": network.DOMAIN,
            "clusterDNS": [NODE_ADDRESS],
            "resolvConf": "",
            "authentication": {
                "x509": {"clientCAFile": str(self.folder / "ca.crt")},
                "webhook": {"enabled": True},
                "anonymous": {"enabled": False},
            },
            "authorization": {"mode": "Webhook"},
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
        }

    def _make_volumes(self) -> None:
        """Create volumes for all claims of a test run in advance; a provisioner would need an image of its own."""
        default = {"storageclass.kubernetes.io/is-default-class": "true"}
        storage_class = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": STORAGE_CLASS, "annotations": default},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
        self.apply(storage_class, *(self._volume(number) for number in range(VOLUMES)))

    def _volume(self, number: int) -> dict[str, Any]:
        folder = self.folder / "volumes" / str(number)
        folder.mkdir(parents=True)
        # The kubelet does not change the owner of a hostPath, and pods run as unprivileged users.
        folder.chmod(0o777)
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"volume-{number}"},
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": STORAGE_CLASS,
                "hostPath": {"path": str(folder)},
            },
        }

    def _terminate(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.end(30)


@contextmanager
def _only_one() -> Iterator[None]:
    """Hold the lock of the machine's only node; wait while another run holds it."""
    with (cache_folder() / "one-node.lock").open("w") as lock:
        deadline = time.monotonic() + OTHERS_TIMEOUT_S
        while not _taken(lock):
            if time.monotonic() > deadline:
                raise UnavailableError("another one-node cluster runs on this machine; wait for its end")
            time.sleep(1)
        yield


def _taken(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
