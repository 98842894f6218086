"""The contract of values.yaml: each value has a description, a schema, and a template that uses it."""

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_api.settings import ApiSettings
from edge_operator.settings import OperatorSettings
from edge_testing.chart.describe import SCHEMA, SET_BY_CHART, VALUES, comments, described, dump, field_texts, place
from edge_testing.chart.render import helm, try_render
from edge_testing.repository import CHART

DEFAULTS = yaml.safe_load(VALUES.read_text())
TEMPLATES = "\n".join(
    path.read_text()
    for folder in ("templates", "files")
    for path in sorted((CHART / folder).rglob("*"))
    if path.is_file()
)


def paths(values: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from paths(value, (*before, key))


def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text())
    return found


def test_lint_finds_nothing() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout


def test_a_package_has_what_the_folder_links_to(tmp_path: Path) -> None:
    done = helm("package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tgz")
    links = {
        "crds/edgeworkers.yaml": "crds/edgeworkers.yaml",
        "crds/edgeworkerpools.yaml": "crds/edgeworkerpools.yaml",
        "files/operator-rbac.yaml": "operator/manifests/rbac.yaml",
    }
    with tarfile.open(archive) as tar:
        for name, source in links.items():
            content = tar.extractfile(f"airflow-edge/{name}")
            assert content is not None
            assert content.read() == (CHART.parent / source).read_bytes()


def test_every_value_is_described() -> None:
    bare = [".".join(path) for path, comment in comments(VALUES.read_text()) if not comment]
    # An alias, and entries of lists and maps that are the value of one key.
    assert [path for path in bare if not _is_content(path)] == []


def _is_content(path: str) -> bool:
    free = ("<<", ".annotations.", ".labels.", "topologySpreadConstraints.", ".pod.resources.")
    return any(part in path for part in free)


def test_every_value_is_in_the_schema_with_its_description() -> None:
    lost = [".".join(path) for path in paths(DEFAULTS) if place(schema(), path) is None]
    assert [path for path in lost if not _is_content(path)] == []
    assert SCHEMA.read_text() == dump(described(schema(), VALUES.read_text())), (
        "run: python -m edge_testing.chart.describe"
    )


def test_the_schema_has_no_value_that_values_yaml_lacks() -> None:
    known = set(paths(DEFAULTS))
    # Removed keys pass the schema, so that a template can refuse them with a helpful text.
    free = {("global",), ("central",), ("pools",), ("edgeApi", "service")}
    free |= {("edgeApi", "settings"), ("operator", "settings")}

    def lacking(node: dict[str, Any], before: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        reference = node.get("$ref", "").rpartition("/")[2]
        for key, child in {**node, **schema()["$defs"].get(reference, {})}.get("properties", {}).items():
            path = (*before, key)
            if path in free:
                continue
            if path not in known:
                yield path
            yield from lacking(child, path)

    assert list(lacking(schema(), ())) == []


def test_every_node_of_the_schema_is_described_and_closed() -> None:
    def faults(node: dict[str, Any], name: str) -> Iterator[str]:
        for key, child in node.get("properties", {}).items():
            if not child.get("description"):
                yield f"{name}.{key} has no description"
            yield from faults(child, f"{name}.{key}")
        if "properties" in node and node.get("additionalProperties") is not False:
            yield f"{name} takes unknown keys"

    document = schema()
    assert [*faults(document, "")] == []
    assert [fault for name, node in document["$defs"].items() for fault in faults(node, name)] == []


def test_every_value_is_used() -> None:
    """By its whole path, or by its last part if a template uses a range or a `with`."""
    unused = [path for path in paths(DEFAULTS) if not re.search(rf"[.\"]{path[-1]}\b", TEMPLATES)]
    assert [".".join(path) for path in unused if not _is_content(".".join(path))] == []


def test_defaults_are_valid() -> None:
    done = helm("template", "edge", str(CHART), "-f", str(VALUES))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("component", "model"), [("edgeApi", ApiSettings), ("operator", OperatorSettings)])
def test_settings_are_those_of_the_program(component: str, model: type[ApiSettings] | type[OperatorSettings]) -> None:
    offered = set(schema()["properties"][component]["properties"]["settings"]["properties"])
    assert offered == set(model.model_fields) - SET_BY_CHART[component], "run: python -m edge_testing.chart.describe"
    assert set(field_texts(model)) == set(model.model_fields)


REMOTE = ("--set", "edgeApi.enabled=false,airflow.enabled=false,postgresql.enabled=false")


@pytest.mark.parametrize(
    ("arguments", "key", "fix"),
    [
        # The schema: unknown keys and wrong types.
        (("replicaCount=2",), "'replicaCount'", "not allowed"),
        (("edgeApi.replica=2",), "/edgeApi", "'replica' not allowed"),
        (("edgeApi.replicas=two",), "/edgeApi/replicas", "want integer"),
        (("edgeApi.replicas=-1",), "/edgeApi/replicas", "0"),
        (("image.pullPolicy=Sometimes",), "/image/pullPolicy", "'IfNotPresent'"),
        (("postgresql.persistence.size=much",), "/postgresql/persistence/size", "Gi"),
        (("edgeApi.executionApiUrl=airflow",), "/edgeApi/executionApiUrl", "https?"),
        (("edgeApi.settings.heartbeat=3",), "/edgeApi/settings", "'heartbeat' not allowed"),
        (("edgeApi.settings.database_url=x",), "/edgeApi/settings", "'database_url' not allowed"),
        (("operator.settings.namespaces=x",), "/operator/settings", "'namespaces' not allowed"),
        (("workerPools.North.replicas=1",), "/workerPools", "'North' not allowed"),
        (("workerPools.north.replica=1",), "/workerPools/north", "'replica' not allowed"),
        (("workerPools.north.concurrency=0",), "/workerPools/north/concurrency", "1"),
        (("ingress.host=https://x",), "/ingress/host", "pattern"),
        # Removed keys.
        (("central.url=https://x",), "central was renamed", "Use controlPlane instead"),
        (("pools.north.replicas=1",), "pools was renamed", "Use workerPools instead"),
        (("edgeApi.service.type=NodePort",), "edgeApi.service was replaced", "Use edgeApi.sitesService"),
        # Values that contradict each other.
        (
            ("controlPlane.url=https://x",),
            "controlPlane.url",
            "Set edgeApi.enabled, airflow.enabled and postgresql.enabled to false",
        ),
        ((REMOTE[1], "controlPlane.url=https://x"), "operator.existingSecret", "Name a Secret"),
        (
            (REMOTE[1], "controlPlane.url=https://x,operator.existingSecret=x,operator.enabled=false"),
            "operator.enabled",
            "=true",
        ),
        (
            (REMOTE[1], "controlPlane.url=https://x,operator.existingSecret=x,operator.allowedVariables={a}"),
            "operator.allowedVariables",
            "credential create",
        ),
        (("controlPlane.caSecret=x",), "controlPlane.caSecret", "Set controlPlane.url"),
        ((REMOTE[1],), "controlPlane.url is empty", "edgeApi.enabled=true"),
        (("database.existingSecret=x",), "database.existingSecret", "postgresql.enabled=false"),
        (("database.apiRole.existingSecret=x",), "database.apiRole.existingSecret", "postgresql.enabled=false"),
        (("postgresql.enabled=false",), "database.existingSecret is empty", "postgresql.enabled=true"),
        (("airflow.enabled=false",), "edgeApi.executionApiUrl", "http://airflow-api-server.airflow.svc"),
        (("edgeApi.enabled=false,operator.enabled=false",), "edgeApi.enabled", "airflow.enabled=false"),
        (("operator.clusterWide=true,operator.namespaces={a}",), "operator.namespaces", "Leave one of them out"),
        (("operator.externalNamespace=far",), "operator.externalNamespace", "Add it to operator.namespaces"),
        (("workerPools.a.replicas=1,operator.enabled=false",), "workerPools", "operator.enabled=true"),
        (("workerPools.a.replicas=1,operator.namespaces={far}",), "workerPools", "Add it to operator.namespaces"),
        (
            ("operator.externalNamespace=air,operator.namespaceBounds[0].namespace=far",),
            "operator.externalNamespace",
            "Add it to operator.namespaceBounds",
        ),
        (
            ("workerPools.a.replicas=1,operator.namespaceBounds[0].namespace=far",),
            "workerPools",
            "Add it to operator.namespaceBounds",
        ),
        (("dags.configMap=a,dags.existingClaim=b",), "dags.configMap and dags.existingClaim", "Set only one"),
        (("edgeApi.autoscaling.enabled=true",), "edgeApi.pod.resources.requests.cpu is empty", "500m"),
        (("ingress.enabled=true",), "ingress.host", "Set it to the name"),
        (
            (
                "edgeApi.autoscaling.enabled=true,edgeApi.autoscaling.minReplicas=9,edgeApi.pod.resources.requests.cpu=1",
            ),
            "edgeApi.autoscaling.minReplicas",
            "Lower it",
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_an_invalid_value_is_reported_with_its_key_and_a_fix(arguments: tuple[str, ...], key: str, fix: str) -> None:
    done = try_render("platform", *(part for value in arguments for part in ("--set", value)))
    assert done.returncode != 0
    said = done.stderr.replace("\n", " ")
    assert key in said
    assert fix in said


@pytest.mark.parametrize("release", ["edgeworker", "edgeworker-north"])
def test_a_release_whose_objects_could_be_those_of_a_worker_is_refused(release: str) -> None:
    done = helm("template", release, str(CHART))
    assert done.returncode != 0
    assert f"The release is named {release}" in done.stderr
    assert "Choose another name" in done.stderr


def test_all_contradictions_are_reported_at_once() -> None:
    done = try_render("platform", "--set", "dags.configMap=a,dags.existingClaim=b,ingress.enabled=true")
    assert "ingress.host" in done.stderr
    assert "dags.configMap" in done.stderr


def test_v1_of_another_airflow_needs_its_secret() -> None:
    done = try_render("existing", "--set", "edgeApi.v1.enabled=true")
    assert "edgeApi.v1.existingSecret is empty" in done.stderr
