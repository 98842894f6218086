"""The custom resource definitions: what `kubectl explain` shows, and what the apiserver refuses and defaults."""

from typing import Any

import pytest

from edge_testing.kubernetes.control_plane import ControlPlane
from edge_testing.waiting import eventually

HEAD = {"apiVersion": "airflow-edge.io/v1alpha1"}


def worker(**spec: Any) -> dict[str, Any]:
    return {**HEAD, "kind": "EdgeWorker", "metadata": {"name": "plant-7"}, "spec": spec}


@pytest.mark.parametrize(
    "path", ["ew.spec", "ew.spec.maintenance", "ew.status", "ewp.spec.autoscaling", "ewp.spec.rollout"]
)
def test_explain_describes_the_fields(cluster: ControlPlane, path: str) -> None:
    # The apiserver publishes the schemas some seconds after it serves the types.
    text = eventually(lambda: cluster.try_kubectl("explain", path).stdout, f"{path} is explained")
    assert "DESCRIPTION" in text
    assert "FIELDS" in text


def test_defaults_are_filled_in(cluster: ControlPlane, namespace: str) -> None:
    cluster.apply(worker(queues=["press"]), namespace=namespace)
    spec = cluster.get("ew", "plant-7", "-n", namespace)["spec"]
    assert spec["mode"] == "Managed"
    assert spec["drainTimeoutSeconds"] == 3600
    assert spec["spool"] == {"type": "PersistentVolumeClaim", "size": "1Gi"}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"mode": "Other"}, "spec.mode"),
        ({"queues": []}, "spec.queues"),
        ({"queues": ["x" * 257]}, "spec.queues"),
        ({"concurrency": 0}, "spec.concurrency"),
        ({"workerName": "a b"}, "spec.workerName"),
        ({"maintenance": {"enabled": True, "comment": "x" * 1025}}, "spec.maintenance.comment"),
        ({"spool": {"size": "much"}}, "spec.spool.size"),
    ],
)
def test_invalid_values_are_refused_by_name(
    cluster: ControlPlane, namespace: str, spec: dict[str, Any], field: str
) -> None:
    with pytest.raises(AssertionError, match=field.replace(".", r"\.")):
        cluster.apply(worker(**spec), namespace=namespace)


def test_columns_show_the_state_of_a_worker(cluster: ControlPlane, namespace: str) -> None:
    cluster.apply(worker(queues=["press"]), namespace=namespace)
    head = cluster.kubectl("get", "ew", "-n", namespace).splitlines()[0].split()
    assert head == ["NAME", "STATE", "QUEUES", "SLOTS", "SEEN", "MAINTENANCE", "AGE"]
    assert "plant-7" in cluster.kubectl("get", "airflow-edge", "-n", namespace)
