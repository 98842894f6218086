"""Misconfigurations are reported in one log line, in readiness and in conditions."""

import base64
import json
from functools import partial

import pytest

from edge_testing.kubernetes.api import Obj
from edge_testing.release.helm import Helm, HelmError
from edge_testing.release.release import NAME, Release
from edge_testing.repository import CHART
from edge_testing.waiting import eventually

LOST = "lost"


def test_a_wrong_join_token(release: Release) -> None:
    release.apply(_worker({"mode": "External", "queues": ["pool"]}), _pod_of_somebody_else(release))
    eventually(lambda: "join token" in _log(release), "the worker says what is wrong", 90, lambda: _log(release))
    # It exits with an error and is restarted; each start logs one line.
    assert len(release.kubectl("logs", LOST).splitlines()) == 1
    assert "edgej_wrong" not in _log(release)
    status = release.get("pod", LOST)["status"]["containerStatuses"][0]
    assert not status["ready"]
    ready = release.condition("edgeworker", LOST, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "NeverEnrolled")
    release.kubectl("delete", "pod", LOST, "--grace-period=0", "--force")
    release.kubectl("delete", "edgeworker", LOST, "--timeout=90s")


def test_a_worker_of_the_operator_with_a_wrong_join_token(release: Release) -> None:
    """The token is replaced while the pod waits for a node."""
    nowhere = {"nodeSelector": {"place": "nowhere"}}
    release.apply(_worker({"queues": ["pool"], "template": nowhere}))
    eventually(lambda: release.find("secret", f"edgeworker-{LOST}"), "its token is made", 60)
    wrong = base64.b64encode(b"edgej_wrong").decode()
    release.kubectl("patch", "secret", f"edgeworker-{LOST}", "--patch", json.dumps({"data": {"join-token": wrong}}))
    release.apply(_worker({"queues": ["pool"], "template": {}}))
    ready = partial(release.condition, "edgeworker", LOST, "Ready")
    eventually(lambda: ready().get("reason") == "PodFailing", "the condition says that it fails", 90, ready)
    assert "join token" in ready()["message"]
    release.kubectl("delete", "edgeworker", LOST, "--timeout=90s")


def _worker(spec: Obj) -> Obj:
    return {"apiVersion": "airflow-edge.io/v1alpha1", "kind": "EdgeWorker", "metadata": {"name": LOST}, "spec": spec}


def _pod_of_somebody_else(release: Release) -> Obj:
    """Return a worker as in another cluster, with an invalid token."""
    settings = {
        "EDGE_WORKER_API_URL": f"http://{NAME}-edge-api:8800",
        "EDGE_WORKER_ALLOW_PLAIN_HTTP": "true",
        "EDGE_WORKER_NAME": LOST,
        "EDGE_WORKER_STATE_DIR": "/home/edge/state",
        "EDGE_WORKER_JOIN_TOKEN": "edgej_wrong",
    }
    container = {
        "name": "worker",
        "image": f"{release.cluster.registry}/airflow-edge/worker:{release.cluster.tag}",
        "args": ["edge-worker", "run"],
        "env": [{"name": name, "value": value} for name, value in settings.items()],
        "readinessProbe": {"exec": {"command": ["edge-worker", "status"]}, "timeoutSeconds": 5},
    }
    meta = {"name": LOST, "labels": {"e2e": "client"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}}


def test_an_unreachable_database(release: Release) -> None:
    other = f"{release.namespace}-lost"
    release.kubectl("create", "namespace", other)
    url = "postgresql://edge:secret@nowhere.invalid:5432/airflow"
    in_other = ("--namespace", other)
    release.kubectl("create", "secret", "generic", "lost", f"--from-literal=connection={url}", *in_other)
    values = ["airflow.enabled=false", "postgresql.enabled=false", "operator.enabled=false"]
    values += ["database.existingSecret=lost", "edgeApi.executionApiUrl=http://airflow.invalid/execution/"]
    helm = Helm(release.cluster.helm, release.cluster.kubeconfig, other)
    helm("install", NAME, str(CHART), *release.values(release.cluster.tag), *(f"--set={one}" for one in values))
    select = ("--selector=app.kubernetes.io/component=edge-api", "--container=wait-for-database", *in_other)
    log = eventually(lambda: release.try_kubectl("logs", *select).stdout, "the pod says what it waits for", 60)
    for line in log.splitlines():
        assert "nowhere.invalid:5432" in line
        assert "secret" not in line
    ready = release.kubectl(
        "get", "deployment", f"{NAME}-edge-api", *in_other, "-o", "jsonpath={.status.readyReplicas}"
    )
    assert ready in ("", "0")
    helm("uninstall", NAME)
    release.kubectl("delete", "namespace", other, "--wait=false")


def test_a_second_install_into_the_namespace_is_refused(release: Release) -> None:
    with pytest.raises(HelmError, match=f"namespace {release.namespace} has|already"):
        release.helm("install", "second", str(CHART), *release.values(release.cluster.tag))


def _log(release: Release) -> str:
    status = (release.get("pod", LOST)["status"].get("containerStatuses") or [{}])[0]
    state = status.get("state") or {}
    return release.kubectl("logs", LOST) if state.get("running") or state.get("terminated") else ""
