"""What goes wrong says so in one line, in readiness and in conditions."""

import pytest

from tests.e2e.helm import CHART, Helm, HelmError
from tests.e2e.release import NAME, Release, eventually

LOST = "lost"


def test_a_wrong_join_token(release: Release) -> None:
    wrong = {"name": "EDGE_WORKER_JOIN_TOKEN", "value": "edgej_wrong"}
    release.apply(
        {
            "apiVersion": "airflow-edge.io/v1alpha1",
            "kind": "EdgeWorker",
            "metadata": {"name": LOST},
            "spec": {"queues": ["pool"], "spool": {"type": "EmptyDir"}, "template": {"env": [wrong]}},
        }
    )
    eventually(lambda: "join token" in _log(release, f"edge-{LOST}-0"), "the worker says what is wrong", 90)
    said = [line for line in _log(release, f"edge-{LOST}-0").splitlines() if "join token" in line]
    assert len(said) == 1, said
    eventually(lambda: _failing(release), "the condition says what is wrong", 90)
    assert not release.get("pod", f"edge-{LOST}-0")["status"]["containerStatuses"][0]["ready"]
    release.kubectl("delete", "edgeworker", LOST, "--timeout=90s")


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
    select = ("--selector=app.kubernetes.io/component=edge-api", "--all-containers", *in_other)
    log = eventually(lambda: release.kubectl("logs", *select).strip(), "the pod says what it waits for", 60)
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


def _log(release: Release, pod: str) -> str:
    return release.kubectl("logs", pod) if release.find("pod", pod) and _started(release, pod) else ""


def _started(release: Release, pod: str) -> bool:
    statuses = release.get("pod", pod)["status"].get("containerStatuses") or [{}]
    state = statuses[0].get("state") or {}
    return bool(state.get("running") or state.get("terminated") or statuses[0].get("restartCount"))


def _failing(release: Release) -> bool:
    condition = release.condition("edgeworker", LOST, "Ready")
    return condition.get("status") == "False" and condition.get("reason") in ("PodFailing", "NeverEnrolled")
