"""The network of a one-node cluster: an address for the node, pods on a bridge, and names of Services.

The address range is the cluster's own and its traffic stays on this machine. The bridge plugin knows nothing of
NetworkPolicies, so they have no effect here.
"""

import json
import shutil
import signal
import subprocess
import threading
from pathlib import Path

from tests.cluster.base_image import run
from tests.cluster.control_plane import SERVICE_RANGE

NODE_ADDRESS = "172.31.255.1"
POD_RANGE = "10.244.0.0/24"
NODE_LINK = "kube0"
POD_LINK = "cni0"
NETWORK = "airflow-edge-tests"
TAKEN_ADDRESSES = Path("/var/lib/cni/networks") / NETWORK
DOMAIN = "cluster.local"
RESTART_S = 0.5
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
    """Make the node's address. The kubelet refuses a loopback address, so a bridge without ports carries it."""
    take_down()
    run("ip", "link", "add", NODE_LINK, "type", "bridge")
    run("ip", "addr", "add", f"{NODE_ADDRESS}/32", "dev", NODE_LINK)
    run("ip", "link", "set", NODE_LINK, "up")
    # Addresses of Services that nothing serves must not leave this machine.
    run("ip", "route", "replace", SERVICE_RANGE, "dev", NODE_LINK)
    run("sysctl", "-qw", *SYSCTLS)
    cni_folder.mkdir()
    (cni_folder / "10-pods.conflist").write_text(json.dumps(CNI))


def take_down() -> None:
    """Remove links and addresses of pods, also those that a run which was killed has left."""
    for link in (POD_LINK, NODE_LINK):
        subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)
    shutil.rmtree(TAKEN_ADDRESSES, ignore_errors=True)


class ServiceNames:
    """Cluster DNS: dnsmasq with a file of names that follows the Services. A context manager."""

    def __init__(self, folder: Path, kubectl: list[str]) -> None:
        self._hosts = folder / "hosts"
        self._log = folder / "dns.log"
        self._kubectl = kubectl
        self._addresses: dict[str, str] = {}
        self._closed = threading.Event()

    def __enter__(self) -> "ServiceNames":
        self._hosts.touch()
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [
                    *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"),
                    *(f"--addn-hosts={self._hosts}", f"--listen-address={NODE_ADDRESS}", "--bind-interfaces"),
                    # Another user could not read the hosts in a folder of this one.
                    *("--port=53", "--pid-file=", f"--local=/{DOMAIN}/", "--user=root"),
                ],
                stdout=log,
                stderr=log,
            )
        self._watch: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._follow, name="service-names", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for process in (self._watch, self._server):
            if process is not None:
                process.kill()
                process.wait(timeout=30)
        self._thread.join(timeout=30)

    def _follow(self) -> None:
        command = [*self._kubectl, "get", "services", "-A", "--watch", "-o", "json", "--output-watch-events"]
        # The apiserver ends each watch after some time.
        while not self._closed.is_set():
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as self._watch:
                for line in self._watch.stdout or []:
                    event = json.loads(line)
                    self._apply(event["type"], event["object"])
            self._closed.wait(RESTART_S)

    def _apply(self, kind: str, service: dict[str, dict[str, str]]) -> None:
        meta, address = service["metadata"], service["spec"].get("clusterIP", "None")
        name = f"{meta['name']}.{meta['namespace']}.svc.{DOMAIN}"
        if kind == "DELETED":
            self._addresses.pop(name, None)
        elif address != "None":
            self._addresses[name] = address
        self._hosts.write_text("".join(f"{address} {name}\n" for name, address in self._addresses.items()))
        self._server.send_signal(signal.SIGHUP)
