"""NetworkPolicies of a one-node cluster, as iptables rules for packets that the node forwards.

The bridge plugin does not implement them. When a packet to a Service is forwarded, its destination is already a pod's
address and its source is still the sender's, so the rules need addresses of pods only.

A pod's call to the node itself (apiserver, DNS) is treated like a call to the outside, as on a cluster where these run
elsewhere. Calls from the node are never checked: Kubernetes lets a node reach its pods.

A pod's address is known up to a second after its first container started. Until then no policy selects the pod.
"""

import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, collapse_addresses, ip_network
from typing import Self

from edge_images.commands import run
from edge_testing.cluster.network import POD_RANGE
from edge_testing.kubernetes.api import Obj
from edge_testing.kubernetes.watch import Watch

PATHS = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}
REFUSE = "EDGE-TESTS-REFUSE"

Labels = dict[str, str]


@dataclass(frozen=True)
class Direction:
    """Ingress or egress, in the terms of policies and of iptables."""

    name: str
    peers: str
    chain: str
    hooks: tuple[str, ...]
    own: str
    other: str


DIRECTIONS = (
    Direction("Ingress", "from", "EDGE-TESTS-INGRESS", ("FORWARD",), own="-d", other="-s"),
    Direction("Egress", "to", "EDGE-TESTS-EGRESS", ("FORWARD", "INPUT"), own="-s", other="-d"),
)


@dataclass(frozen=True)
class Pod:
    """The fields of a pod that the rules use."""

    address: str
    namespace: str
    labels: Labels
    namespace_labels: Labels


def rules(pods: list[Obj], namespaces: list[Obj], policies: list[Obj]) -> str:
    """Return all rules as input for `iptables-restore`, which replaces the previous ones."""
    known = list(_known(pods, namespaces))
    lines = ["*filter", *(f":{chain} - [0:0]" for chain in _chains())]
    for direction in DIRECTIONS:
        lines.append(f"-A {direction.chain} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN")
        for pod in known:
            selecting = [policy for policy in policies if _selects(policy, direction, pod)]
            if selecting:
                lines += dict.fromkeys(_isolation(direction, pod, selecting, known))
    return "\n".join([*lines, *_refusal(known), "COMMIT", ""])


def _known(pods: list[Obj], namespaces: list[Obj]) -> Iterator[Pod]:
    """Yield the pods that have an address of their own and have not ended."""
    labels = {namespace["metadata"]["name"]: namespace["metadata"].get("labels") or {} for namespace in namespaces}
    for pod in pods:
        meta, status = pod["metadata"], pod.get("status") or {}
        ended = status.get("phase") in ("Succeeded", "Failed")
        if status.get("podIP") and not ended and not pod["spec"].get("hostNetwork"):
            yield Pod(status["podIP"], meta["namespace"], meta.get("labels") or {}, labels.get(meta["namespace"], {}))


def _selects(policy: Obj, direction: Direction, pod: Pod) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    here = policy["metadata"]["namespace"] == pod.namespace
    return here and direction.name in types and _match(spec["podSelector"], pod.labels)


def _match(selector: Obj, labels: Labels) -> bool:
    expressions = selector.get("matchExpressions") or []
    return (selector.get("matchLabels") or {}).items() <= labels.items() and all(
        _holds(expression, labels.get(expression["key"])) for expression in expressions
    )


def _holds(expression: Obj, value: str | None) -> bool:
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case _:
            return value is None


def _isolation(direction: Direction, pod: Pod, policies: list[Obj], known: list[Pod]) -> Iterator[str]:
    """Accept packets that one of the policies accepts, and refuse the others."""
    start = f"-A {direction.chain} {direction.own} {pod.address}"
    # No policy keeps a pod from calling itself through its Service.
    yield f"{start} {direction.other} {pod.address} -j RETURN"
    for policy in policies:
        for rule in policy["spec"].get(direction.name.lower()) or []:
            for peer in _peers(rule.get(direction.peers), policy["metadata"]["namespace"], known):
                for port in _ports(rule.get("ports")):
                    yield " ".join([start, *([direction.other, peer] if peer else []), *port, "-j RETURN"])
    yield f"{start} -j {REFUSE}"


def _peers(peers: list[Obj] | None, namespace: str, known: list[Pod]) -> Iterator[str]:
    """Yield addresses and ranges; an empty string stands for everywhere."""
    if not peers:
        yield ""
    for peer in peers or []:
        if "ipBlock" in peer:
            yield from map(str, _block(peer["ipBlock"]))
        else:
            yield from (pod.address for pod in known if _is_peer(peer, namespace, pod))


def _is_peer(peer: Obj, namespace: str, pod: Pod) -> bool:
    of_namespaces = peer.get("namespaceSelector")
    there = pod.namespace == namespace if of_namespaces is None else _match(of_namespaces, pod.namespace_labels)
    return there and _match(peer.get("podSelector") or {}, pod.labels)


def _block(block: Obj) -> Iterable[IPv4Network]:
    """Return the ranges of a block minus its exceptions, since an iptables rule can't have exceptions."""
    whole = ip_network(block["cidr"])
    # Pods have IPv4 addresses only.
    if not isinstance(whole, IPv4Network):
        return []
    left = [whole]
    for gone in collapse_addresses(IPv4Network(text) for text in block.get("except") or []):
        left = [part for one in left for part in (one.address_exclude(gone) if gone.subnet_of(one) else [one])]
    return left


def _ports(ports: list[Obj] | None) -> Iterator[list[str]]:
    if not ports:
        yield []
    for port in ports or []:
        number = port.get("port")
        if isinstance(number, str):
            raise NotImplementedError(f"a NetworkPolicy names the port {number}; here they need numbers")
        last = port.get("endPort", number)
        yield ["-p", port.get("protocol", "TCP").lower(), *(["--dport", f"{number}:{last}"] if number else [])]


def _refusal(known: list[Pod]) -> Iterator[str]:
    """Refuse with an ICMP error, which differs from a closed port and from a timeout.

    A pod that has only just started may be allowed once its address is known. Its packets are dropped; TCP resends.
    """
    for pod in known:
        yield f"-A {REFUSE} -s {pod.address} -j REJECT --reject-with icmp-admin-prohibited"
    yield f"-A {REFUSE} -s {POD_RANGE} -j DROP"
    yield f"-A {REFUSE} -j REJECT --reject-with icmp-admin-prohibited"


def _chains() -> list[str]:
    return [*(direction.chain for direction in DIRECTIONS), REFUSE]


class NetworkPolicies:
    """Keeps the rules up to date. A context manager, which first removes the rules that a killed run left behind."""

    def __init__(self, kubectl: list[str]) -> None:
        self._kubectl = kubectl
        self._found: dict[str, list[Obj]] = {}
        self._written = ""
        self._lock = threading.Lock()
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        take_down()
        self._closing.callback(take_down)
        self._write(rules([], [], []))
        for direction in DIRECTIONS:
            for hook in direction.hooks:
                run("iptables", "--wait", "--insert", hook, "--jump", direction.chain)
        for kind, path in PATHS.items():
            self._closing.enter_context(Watch(self._kubectl, path, partial(self._changed, kind)))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _changed(self, kind: str, found: list[Obj]) -> None:
        with self._lock:
            self._found[kind] = found
            if self._found.keys() == PATHS.keys():
                self._write(rules(**self._found))

    def _write(self, text: str) -> None:
        """Replace all rules at once."""
        if text == self._written:
            return
        command = ["iptables-restore", "--noflush", "--wait"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"iptables-restore: {done.stderr.strip()}\n{text}")
        self._written = text


def take_down() -> None:
    """Remove the chains and the jumps to them."""
    for direction in DIRECTIONS:
        for hook in direction.hooks:
            while _try("--delete", hook, "--jump", direction.chain):
                pass
    for action in ("--flush", "--delete-chain"):
        for chain in _chains():
            _try(action, chain)


def _try(*arguments: str) -> bool:
    return subprocess.run(["iptables", "--wait", *arguments], capture_output=True, check=False).returncode == 0
