"""Every object of the chart is valid by its kind's schema, and every pod meets the restricted standard."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from edge_testing.chart.render import CURRENT, MONITORING, OLD, VALUES, containers, render
from edge_testing.chart.vendor_schemas import FOLDER
from edge_testing.kubernetes.api import Obj
from edge_testing.repository import CHART

ROOT = CHART.parent
WITHOUT_SCHEMA = (MONITORING, "airflow-edge.io/v1alpha1")
"""Kinds of CRDs. This project's own are checked against its CRDs."""


@lru_cache(maxsize=128)
def validator(version: str, kind: str) -> jsonschema_rs.Draft4Validator:
    schema = json.loads((FOLDER / f"kubernetes-{version.rpartition('.')[0]}.json").read_text())
    assert kind in schema["kinds"], f"{kind} is not in Kubernetes {version}"
    reference = {"$ref": f"#/definitions/{schema['kinds'][kind]}"}
    return jsonschema_rs.Draft4Validator({**reference, "definitions": schema["definitions"]})


@pytest.mark.parametrize("version", [OLD, CURRENT])
@pytest.mark.parametrize("mode", VALUES)
def test_objects_are_of_their_schemas(mode: str, version: str) -> None:
    objects = [obj for obj in render(mode, version=version).objects if obj["apiVersion"] not in WITHOUT_SCHEMA]
    assert len(objects) > 8
    problems = [
        f"{obj['kind']}/{obj['metadata']['name']} {'/'.join(map(str, error.instance_path))}: {error.message}"
        for obj in objects
        for error in validator(version, f"{obj['apiVersion']}/{obj['kind']}").iter_errors(obj)
    ]
    assert not problems, problems


@pytest.mark.parametrize("version", [OLD, CURRENT])
def test_the_schemas_refuse_what_is_wrong(version: str) -> None:
    job = json.loads(json.dumps(render("platform").migration()))
    check = validator(version, "batch/v1/Job")
    assert check.is_valid(job)
    pod = job["spec"]["template"]["spec"]
    pod["containers"][0]["volumeMount"] = []
    assert not check.is_valid(job)
    del pod["containers"][0]["volumeMount"], pod["containers"][0]["name"]
    assert not check.is_valid(job)


@pytest.mark.parametrize("file", sorted((ROOT / "crds").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("version", [OLD, CURRENT])
def test_crds_are_of_their_schema(file: Path, version: str) -> None:
    crd = yaml.safe_load(file.read_text())
    assert validator(version, "apiextensions.k8s.io/v1/CustomResourceDefinition").is_valid(crd)


@pytest.mark.parametrize("mode", ["remote", "everything"])
def test_pools_are_of_their_crd(mode: str) -> None:
    crd = yaml.safe_load((ROOT / "crds" / "edgeworkerpools.yaml").read_text())
    check = jsonschema_rs.Draft7Validator(_closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))
    pools = render(mode).kind("EdgeWorkerPool").values()
    assert pools
    for pool in pools:
        assert not list(check.iter_errors(pool))


def _closed(value: Any) -> Any:
    """Return a CRD's schema in which an unknown field is an error, rather than dropped."""
    if not isinstance(value, dict):
        return value
    closed = {name: _closed(item) for name, item in value.items()}
    open_ended = value.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in value
    if isinstance(value.get("properties"), dict) and not open_ended:
        closed["additionalProperties"] = False
    return closed


@pytest.mark.parametrize("mode", VALUES)
def test_every_pod_is_restricted(mode: str) -> None:
    """The Pod Security Standard "restricted", and a read-only root file system and a fixed user."""
    pods = list(render(mode).pods())
    assert pods
    for name, pod in pods:
        _check_pod(name, pod)
        for container in containers(pod):
            _check_container(f"{name}/{container['name']}", container)


def _check_pod(name: str, pod: Obj) -> None:
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True, name
    assert security["runAsUser"] > 0, name
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod), name
    kinds = {kind for volume in pod.get("volumes") or [] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}, name
    assert pod["enableServiceLinks"] is False, name
    # Only pods that call the apiserver have a token for it.
    talks = any(word in name for word in ("operator", "delete-workers", "release-workers", "crds", "secrets"))
    assert pod["automountServiceAccountToken"] is talks, name


def _check_container(name: str, container: Obj) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }, name
    assert not any(port.get("hostPort") for port in container.get("ports") or []), name
    # Arguments, not a command: the images' entrypoint is an init that reaps orphaned processes.
    assert "command" not in container, name
    assert container.get("args") or "postgresql" in name, name


@pytest.mark.parametrize("file", sorted((ROOT / "crds").glob("*.yaml")), ids=lambda path: path.stem)
def test_deleting_what_brought_the_crds_keeps_them(file: Path) -> None:
    annotations = yaml.safe_load(file.read_text())["metadata"]["annotations"]
    assert annotations["helm.sh/resource-policy"] == "keep"
    assert {"Prune=false", "Delete=false"} == set(annotations["argocd.argoproj.io/sync-options"].split(","))


def test_probes_are_where_something_answers() -> None:
    for name, deployment in render("platform").kind("Deployment").items():
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        if name in ("edge-dag-processor", "edge-triggerer"):
            continue
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] in ports, name


def test_pods_that_are_called_leave_their_service_before_they_stop() -> None:
    deployments = render("platform").kind("Deployment")
    for name in ("edge-edge-api", "edge-api-server"):
        pod = deployments[name]["spec"]["template"]["spec"]
        program, seconds = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert program == "sleep"
        assert 0 < int(seconds) < pod.get("terminationGracePeriodSeconds", 30) / 2
        assert deployments[name]["spec"].get("strategy", {}).get("type") != "Recreate"


def test_services_find_their_pods() -> None:
    made = render("everything")
    labels = [obj["spec"]["template"] for kind in ("Deployment", "StatefulSet") for obj in made.kind(kind).values()]
    for name, service in made.kind("Service").items():
        selector = service["spec"]["selector"]
        (found,) = (template for template in labels if selector.items() <= template["metadata"]["labels"].items())
        ports = {port["name"] for port in found["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, name


def test_versions_of_apis_follow_the_cluster() -> None:
    kinds = {
        "HorizontalPodAutoscaler": ("autoscaling/v2beta2", "autoscaling/v2"),
        "PodDisruptionBudget": ("policy/v1beta1", "policy/v1"),
    }
    for kind, (old, current) in kinds.items():
        assert {obj["apiVersion"] for obj in render("everything", version=OLD).kind(kind).values()} == {old}
        assert {obj["apiVersion"] for obj in render("everything").kind(kind).values()} == {current}


def test_one_pod_alone_has_no_budget() -> None:
    made = render("platform", "--set", "edgeApi.replicas=1")
    assert not made.kind("PodDisruptionBudget")
    assert set(render("platform").kind("PodDisruptionBudget")) == {"edge-edge-api"}


@pytest.mark.parametrize("wide", [False, True])
def test_the_operators_rights_are_those_of_its_manifest(wide: bool) -> None:
    fleet, leader = yaml.safe_load_all((ROOT / "operator" / "manifests" / "rbac.yaml").read_text())
    made = render("platform", "--set", f"operator.clusterWide={str(wide).lower()}")
    kind = "ClusterRole" if wide else "Role"
    assert made.one(kind, "air-edge-operator")["rules"] == fleet["rules"]
    assert made.one("Role", "edge-operator-leader")["rules"] == leader["rules"]
    binding = made.one(f"{kind}Binding", "air-edge-operator")
    assert binding["roleRef"]["name"] == "air-edge-operator"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "edge-operator", "namespace": "air"}]


def test_the_operator_has_rights_in_each_of_its_namespaces_only() -> None:
    made = render("everything")
    where = {
        obj["metadata"]["namespace"]
        for obj in made.objects
        if obj["kind"] == "Role" and obj["metadata"]["name"] == "air-edge-operator"
    }
    assert where == {"air", "site"}
    # The hook that replaces CRDs is the only one with cluster-wide rights.
    assert set(made.kind("ClusterRole")) == {"air-edge-crds"}
    (rule,) = made.one("ClusterRole", "air-edge-crds")["rules"]
    assert rule["verbs"] == ["get", "update"]
    assert len(rule["resourceNames"]) == 2
