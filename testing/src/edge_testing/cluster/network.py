"""The network of a one-node cluster: an address for the node, pods on a bridge, and names of Services.

The address range is private to the cluster and its traffic stays on this machine. The bridge plugin does not implement
NetworkPolicies; `policies.py` does.
"""

import json
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from edge_images.commands import run
from edge_testing.kubernetes.api import Obj
from edge_testing.kubernetes.control_plane import SERVICE_RANGE
from edge_testing.kubernetes.watch import Watch

NODE_ADDRESS = "172.31.255.1"
POD_RANGE = "10.244.0.0/24"
NODE_LINK = "kube0"
POD_LINK = "cni0"
NETWORK = "airflow-edge-tests"
TAKEN_ADDRESSES = Path("/var/lib/cni/networks") / NETWORK
DOMAIN = "cluster.local"
SYSCTLS = ("net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")

CNI = {
    "cniVersion": "0.4.0",
    "name": NETWORK,
    "plugins": [
        {
            "type": "bridge",
            "bridge": POD_LINK,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": POD_RANGE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


def bring_up(cni_folder: Path) -> None:
    """Create the node's address on a bridge without ports, since the kubelet refuses a loopback address."""
    take_down()
    run("ip", "link", "add", NODE_LINK, "type", "bridge")
    run("ip", "addr", "add", f"{NODE_ADDRESS}/32", "dev", NODE_LINK)
    run("ip", "link", "set", NODE_LINK, "up")
    # Packets to Services without endpoints must not leave this machine.
    run("ip", "route", "replace", SERVICE_RANGE, "dev", NODE_LINK)
    run("sysctl", "-qw", *SYSCTLS)
    cni_folder.mkdir()
    (cni_folder / "10-pods.conflist").write_text(json.dumps(CNI))


def take_down() -> None:
    """Remove the links and addresses of pods, including those that a killed run left behind."""
    for link in (POD_LINK, NODE_LINK):
        subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)
    shutil.rmtree(TAKEN_ADDRESSES, ignore_errors=True)


class ServiceNames:
    """Cluster DNS: dnsmasq with a hosts file that is kept up to date with the Services. A context manager."""

    def __init__(self, folder: Path, kubectl: list[str]) -> None:
        self._hosts = folder / "hosts"
        self._log = folder / "dns.log"
        self._watch = Watch(kubectl, "/api/v1/services", self._write)
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        self._hosts.touch()
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [
                    *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"),
                    *(f"--addn-hosts={self._hosts}", f"--listen-address={NODE_ADDRESS}", "--bind-interfaces"),
                    # Another user could not read the hosts file in this user's folder.
                    *("--port=53", "--pid-file=", f"--local=/{DOMAIN}/", "--user=root"),
                ],
                stdout=log,
                stderr=log,
            )
        self._closing.callback(self._stop)
        self._closing.enter_context(self._watch)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _stop(self) -> None:
        self._server.kill()
        self._server.wait(timeout=30)

    def _write(self, services: list[Obj]) -> None:
        lines = []
        for service in services:
            meta, address = service["metadata"], service["spec"].get("clusterIP", "None")
            if address != "None":
                lines.append(f"{address} {meta['name']}.{meta['namespace']}.svc.{DOMAIN}\n")
        self._hosts.write_text("".join(lines))
        self._server.send_signal(signal.SIGHUP)
