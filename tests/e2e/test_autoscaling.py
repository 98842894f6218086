"""A real HorizontalPodAutoscaler scales the edge API and a pool up and down without affecting tasks."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from edge_testing.kubernetes.api import Obj
from edge_testing.kubernetes.certificates import write_server_certificate
from edge_testing.release import metrics_api
from edge_testing.release.release import NAME, Release
from edge_testing.repository import CHART, EXAMPLES
from edge_testing.skipping import cannot_run
from edge_testing.waiting import eventually

API_SERVICE = "v1beta1.metrics.k8s.io"
DEPLOYMENT = f"{NAME}-edge-api"
LEAST, MOST = 2, 4
REQUEST = "10m"
HIGH, LOW = "30m", "0"
LABELS = {"app": metrics_api.NAME}
ON = (
    "--set=edgeApi.autoscaling.enabled=true",
    f"--set=edgeApi.autoscaling.minReplicas={LEAST},edgeApi.autoscaling.maxReplicas={MOST}",
    f"--set=edgeApi.pod.resources.requests.cpu={REQUEST}",
)
pytestmark = pytest.mark.slow
PATIENCE_S = 120
"""The controller's interval is 15 seconds, and new pods have to become ready."""


@pytest.fixture(scope="module")
def usage(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A metrics API for the cluster, which reports that pods use nothing."""
    found = release.find("apiservice", API_SERVICE)
    if found is not None and found["metadata"].get("labels") != LABELS:
        cannot_run(f"the cluster has a source of metrics ({API_SERVICE}), so a test can't say what pods use")
    try:
        release.apply(*_source(release, tmp_path_factory.mktemp("metrics")))
        release.kubectl("wait", "--for=condition=Available", f"apiservice/{API_SERVICE}", "--timeout=60s")
        yield
    finally:
        # Removed before its pod: while an APIService has no backend, the cluster deletes no namespace.
        release.kubectl("delete", "apiservice", API_SERVICE, "--ignore-not-found")
        release.kubectl("delete", "pod,service,configmap,secret,rolebinding", f"--selector=app={metrics_api.NAME}")


def test_the_edge_api_follows_its_load_while_a_task_runs(release: Release, worker: str, usage: None) -> None:
    hold = release.start_hold("hold_default", 1)
    hold.wait_running(1)
    with _autoscaling(release):
        _wait_replicas(release, LEAST)
        _use(release, HIGH)
        _wait_replicas(release, MOST)
        pods = _pods(release)
        _upgrade(release, *ON)
        assert _pods(release) == pods
        _use(release, LOW)
        _wait_replicas(release, LEAST)
    assert [state for state, _ in hold.states()] == ["running"]
    (task,) = hold.finish()
    assert (task["state"], task["try_number"]) == ("success", 1)


def test_a_pool_follows_its_load(release: Release, usage: None) -> None:
    pool = yaml.safe_load((EXAMPLES / "edgeworkerpool.yaml").read_text())
    name, template = pool["metadata"]["name"], pool["spec"]["template"]["spec"]
    template["queues"] = ["pool"]
    template["template"]["resources"] = {"requests": {"cpu": REQUEST}}
    release.apply(pool)
    release.wait_ready("edgeworkerpool", name)
    _use(release, REQUEST)
    release.apply(_autoscaler_of_pool(name))
    _scale_down_at_once(release, name)
    hold = release.start_hold("hold_pool", 1)
    hold.wait_running(1)
    _use(release, HIGH)
    _wait_workers(release, name, MOST)
    _use(release, LOW)
    # The one with the task drains, or it is the one that stays.
    eventually(lambda: _pool(release, name)["spec"]["replicas"] == 1, "one replica is desired", PATIENCE_S)
    assert [state for state, _ in hold.states()] == ["running"]
    (task,) = hold.finish()
    assert (task["state"], task["try_number"]) == ("success", 1)
    _wait_workers(release, name, 1)
    release.kubectl("delete", f"hpa/{name}", f"edgeworkerpool/{name}", "--timeout=90s")


def _autoscaler_of_pool(name: str) -> Obj:
    target = {"apiVersion": "airflow-edge.io/v1alpha1", "kind": "EdgeWorkerPool", "name": name}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": MOST, "targetCPUUtilizationPercentage": 100}
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": spec,
    }


def _wait_workers(release: Release, pool: str, count: int) -> None:
    eventually(
        lambda: release.status("edgeworkerpool", pool).get("readyReplicas") == count,
        f"{count} workers",
        PATIENCE_S,
        lambda: (release.find("hpa", pool), _pool(release, pool)),
    )


def _pool(release: Release, name: str) -> Obj:
    found = release.find("edgeworkerpool", name)
    assert found is not None
    return found


@contextmanager
def _autoscaling(release: Release) -> Iterator[None]:
    try:
        _upgrade(release, *ON)
        _scale_down_at_once(release, DEPLOYMENT)
        yield
    finally:
        _upgrade(release)


def _scale_down_at_once(release: Release, name: str) -> None:
    """By default an autoscaler waits five minutes before it scales down."""
    patch = {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}}
    release.kubectl("patch", _kind(release), name, "--type=merge", f"--patch={json.dumps(patch)}")


def _kind(release: Release) -> str:
    """Return the autoscaler's resource name in a version that has `behavior`."""
    versions = release.kubectl("api-versions").split()
    return f"horizontalpodautoscalers.{'v2' if 'autoscaling/v2' in versions else 'v2beta2'}.autoscaling"


def _upgrade(release: Release, *more: str) -> None:
    tag = release.cluster.tag
    release.helm("upgrade", NAME, str(CHART), *release.values(tag), *more, "--wait", "--timeout", "5m")


def _use(release: Release, cpu: str) -> None:
    release.kubectl("patch", "configmap", metrics_api.NAME, f"--patch={json.dumps({'data': {'cpu': cpu}})}")


def _wait_replicas(release: Release, count: int) -> None:
    eventually(
        lambda: release.status("deployment", DEPLOYMENT).get("readyReplicas") == len(_pods(release)) == count,
        f"{count} edge APIs",
        PATIENCE_S,
        lambda: release.find("hpa", DEPLOYMENT),
    )


def _pods(release: Release) -> set[str]:
    """Return the names of the pods that stay."""
    metas = (pod["metadata"] for pod in release.component("edge-api"))
    return {meta["name"] for meta in metas if "deletionTimestamp" not in meta}


def _source(release: Release, folder: Path) -> list[Obj]:
    """Return the objects of a metrics API in the release's namespace, which it may read."""
    write_server_certificate(folder, "tls", (), (f"{metrics_api.NAME}.{release.namespace}.svc",))
    files = {"tls.crt": folder / "tls.crt", "tls.key": folder / "tls.key", "metrics_api.py": Path(metrics_api.__file__)}
    meta = {"name": metrics_api.NAME, "labels": LABELS}
    where = {"namespace": release.namespace, "name": metrics_api.NAME}
    account = {"kind": "ServiceAccount", "name": "default", "namespace": release.namespace}
    view = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    service = {"selector": LABELS, "ports": [{"port": 443, "targetPort": metrics_api.PORT}]}
    registration = {
        "group": "metrics.k8s.io",
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "service": where,
        "caBundle": base64.b64encode((folder / "ca.crt").read_bytes()).decode(),
    }
    image = f"{release.cluster.registry}/airflow-edge/edge-api:{release.cluster.tag}"
    named = {"metadata": meta}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", **named, "data": {"cpu": LOW}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            **named,
            "stringData": {name: path.read_text() for name, path in files.items()},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            **named,
            "roleRef": view,
            "subjects": [account],
        },
        {"apiVersion": "v1", "kind": "Pod", **named, "spec": _pod(image)},
        {"apiVersion": "v1", "kind": "Service", **named, "spec": service},
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {**meta, "name": API_SERVICE},
            "spec": registration,
        },
    ]


def _pod(image: str) -> Obj:
    container = {
        "name": metrics_api.NAME,
        "image": image,
        "command": ["python3", str(metrics_api.HERE / "metrics_api.py")],
        "readinessProbe": {"tcpSocket": {"port": metrics_api.PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "files", "mountPath": str(metrics_api.HERE)}],
    }
    volumes = [{"name": "files", "secret": {"secretName": metrics_api.NAME}}]
    return {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": volumes}
