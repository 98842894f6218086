"""The chart's NetworkPolicies: who can call whom.

Each refusal has its counterpart: the same call succeeds as soon as a policy allows it, and only as long.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from edge_testing.cluster.choice import Cluster
from edge_testing.kubernetes.api import Obj
from edge_testing.release.namespace import Namespace
from edge_testing.release.release import NAME, Release
from edge_testing.skipping import cannot_run
from edge_testing.waiting import eventually

STRANGER = "stranger"
PORT = 8000
CALL = """
import socket, sys
address = socket.gethostbyname(sys.argv[1])
try:
    socket.create_connection((address, int(sys.argv[2])), timeout=3).close()
except OSError as error:
    print(f"refused: {error}")
else:
    print("open")
"""
CALL_OF_BASH = "timeout 3 bash -c ': < /dev/tcp/$0/$1' $0 $1 && echo open || echo refused"
"""The image of PostgreSQL has no Python."""

CLIENT, MONITORING = "e2e=client", "e2e=monitoring"
"""Labels that the suite's values allow: of pods and of namespaces."""
PATIENCE_S = 30
"""For a network to apply changes of labels and policies."""


@dataclass(frozen=True)
class Stranger:
    """A pod outside of the release, in a namespace of its own or in the release's."""

    home: Namespace

    def start(self) -> None:
        """Start the pod and wait until it listens."""
        cluster = self.home.cluster
        self.home.apply(_listener(f"{cluster.registry}/airflow-edge/edge-api:{cluster.tag}"))
        self.home.kubectl("wait", "--for=condition=Ready", f"pod/{STRANGER}", "--timeout=60s")

    @property
    def address(self) -> str:
        """Address that the pod listens on."""
        found: str = self.home.get("pod", STRANGER)["status"]["podIP"]
        return found

    def calls(self, host: str, port: int) -> bool:
        """Return whether a connection succeeds. An unknown name is an error."""
        return _said_open(self.home, STRANGER, "python3", "-c", CALL, host, str(port))

    @contextmanager
    def with_labels(self, *labels: str) -> Iterator[None]:
        """Label the pod inside the block."""
        with _labelled(self.home, f"pod/{STRANGER}", *labels):
            yield


@dataclass(frozen=True)
class Strangers:
    """A stranger in the release's namespace and one in another."""

    inside: Stranger
    outside: Stranger


@pytest.fixture(scope="module")
def strangers(cluster: Cluster, release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strangers]:
    """Skip unless the network is known to enforce policies."""
    with Namespace(cluster, tmp_path_factory.mktemp("elsewhere"), "elsewhere") as elsewhere:
        made = Strangers(Stranger(release), Stranger(elsewhere))
        try:
            made.inside.start()
            made.outside.start()
            _check_network(made)
            yield made
        finally:
            release.kubectl("delete", "pod", STRANGER, "--ignore-not-found")
            elsewhere.kubectl("delete", "namespace", elsewhere.namespace, "--wait=false")


def _check_network(strangers: Strangers) -> None:
    address = strangers.outside.address
    assert strangers.inside.calls(address, PORT)
    strangers.outside.home.apply(_policy({"podSelector": {}, "policyTypes": ["Ingress"]}))
    try:
        eventually(
            lambda: not strangers.inside.calls(address, PORT), "a policy that lets nobody in does so", PATIENCE_S
        )
    except AssertionError as error:
        cannot_run(f"the cluster's network enforces no NetworkPolicies: {error}")


@pytest.mark.parametrize("where", ["inside", "outside"])
@pytest.mark.parametrize(("component", "port"), [("edge-api", 8800), ("api-server", 8080)])
def test_clients_are_let_in(release: Release, strangers: Strangers, where: str, component: str, port: int) -> None:
    stranger: Stranger = getattr(strangers, where)
    target = (_service(release, component), port)
    assert not stranger.calls(*target)
    with stranger.with_labels(CLIENT):
        _comes(lambda: stranger.calls(*target))
    _comes(lambda: not stranger.calls(*target))


def test_the_database_is_for_the_release_alone(release: Release, strangers: Strangers) -> None:
    target = (_service(release, "postgresql"), 5432)
    assert not strangers.inside.calls(*target)
    with strangers.inside.with_labels(*_labels_of("migrate")):
        _comes(lambda: strangers.inside.calls(*target))
    _comes(lambda: not strangers.inside.calls(*target))
    # In another namespace the labels have no effect, and being a client of one component is not enough for the others.
    # A successful call to the edge API shows that the policies are applied by then.
    edge_api = (_service(release, "edge-api"), 8800)
    with strangers.outside.with_labels(*_labels_of("migrate"), CLIENT):
        _comes(lambda: strangers.outside.calls(*edge_api))
        assert not strangers.outside.calls(*target)
    _comes(lambda: not strangers.outside.calls(*edge_api))


@pytest.mark.parametrize(("component", "port"), [("operator", 8080), ("edge-api", 8800)])
def test_metrics_are_for_monitoring(release: Release, strangers: Strangers, component: str, port: int) -> None:
    target = (_service(release, component), port)
    inside, outside = strangers.inside, strangers.outside
    assert not outside.calls(*target)
    with _labelled(outside.home, f"namespace/{outside.home.namespace}", MONITORING):
        _comes(lambda: outside.calls(*target))
        assert not inside.calls(*target)
        assert not outside.calls(_service(release, "api-server"), 8080)
    _comes(lambda: not outside.calls(*target))


def test_a_worker_reaches_the_edge_api_only(release: Release, strangers: Strangers, worker: str) -> None:
    """All tests of this folder run tasks on it."""
    pod = f"edgeworker-{worker}-0"

    def calls(host: str, port: int) -> bool:
        return _said_open(release, pod, "python3", "-c", CALL, host, str(port))

    elsewhere = [(_service(release, "api-server"), 8080), (_service(release, "operator"), 8080)]
    elsewhere.append((strangers.inside.address, PORT))
    assert calls(_service(release, "edge-api"), 8800)
    assert [target for target in elsewhere if calls(*target)] == []
    let_out = _policy({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]})
    release.apply(let_out)
    try:
        _comes(lambda: calls(strangers.inside.address, PORT))
    finally:
        release.kubectl("delete", "networkpolicy", let_out["metadata"]["name"])
    _comes(lambda: not calls(strangers.inside.address, PORT))


def test_postgresql_calls_nobody(release: Release, strangers: Strangers) -> None:
    address = strangers.inside.address

    def calls() -> bool:
        return _said_open(release, f"{NAME}-postgresql-0", "sh", "-c", CALL_OF_BASH, address, str(PORT))

    assert not calls()
    selector = {"matchLabels": dict(label.split("=") for label in _labels_of("postgresql"))}
    let_out = _policy({"podSelector": selector, "policyTypes": ["Egress"], "egress": [{}]})
    release.apply(let_out)
    try:
        _comes(calls)
    finally:
        release.kubectl("delete", "networkpolicy", let_out["metadata"]["name"])
    _comes(lambda: not calls())


def _service(release: Release, component: str) -> str:
    return f"{NAME}-{component}.{release.namespace}.svc"


def _labels_of(component: str) -> list[str]:
    about = {"name": "airflow-edge", "instance": NAME, "component": component}
    return [f"app.kubernetes.io/{key}={value}" for key, value in about.items()]


def _comes(question: Callable[[], bool]) -> None:
    eventually(question, "the network does what labels and policies say", PATIENCE_S)


def _said_open(namespace: Namespace, pod: str, *command: str) -> bool:
    return namespace.kubectl("exec", pod, "--", *command).startswith("open")


@contextmanager
def _labelled(namespace: Namespace, target: str, *labels: str) -> Iterator[None]:
    namespace.kubectl("label", target, *labels)
    try:
        yield
    finally:
        namespace.kubectl("label", target, *(f"{label.partition('=')[0]}-" for label in labels))


def _policy(spec: Obj) -> Obj:
    meta = {"name": STRANGER}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


def _listener(image: str) -> Obj:
    container = {
        "name": "listener",
        "image": image,
        "args": ["python3", "-m", "http.server", str(PORT), "--directory", "/home"],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 50000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": STRANGER}, "spec": spec}
