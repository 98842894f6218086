"""Writes the files of `schemas/`: the part of Kubernetes' OpenAPI document that describes the chart's objects.

    python -m edge_testing.chart.vendor_schemas 1.20 OPENAPI.json

OPENAPI.json is the output of `kubectl get --raw /openapi/v2`, or the `_definitions.json` of a version in the package
kubernetes-validate. The result has the kinds below and the types that they use, without descriptions; unknown fields
are errors.
"""

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("schemas")

KINDS = {
    ("v1", kind) for kind in ("ConfigMap", "PersistentVolumeClaim", "Pod", "Secret", "Service", "ServiceAccount")
} | {
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("batch/v1", "Job"),
    ("coordination.k8s.io/v1", "Lease"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    *(("rbac.authorization.k8s.io/v1", f"{where}Role{what}") for where in ("", "Cluster") for what in ("", "Binding")),
    # Each of these API versions exists in one of the Kubernetes versions only.
    *((f"policy/{version}", "PodDisruptionBudget") for version in ("v1", "v1beta1")),
    *((f"autoscaling/{version}", "HorizontalPodAutoscaler") for version in ("v2", "v2beta2")),
}

Schema = dict[str, Any]


def vendored(document: Schema) -> Schema:
    """Return the schema of all objects of the kinds, keyed by `VERSION/KIND`."""
    definitions: Schema = document.get("definitions") or document["$defs"]
    roots: dict[str, str] = {}
    for name, definition in definitions.items():
        for known in definition.get("x-kubernetes-group-version-kind", []):
            version = "/".join(part for part in (known["group"], known["version"]) if part)
            if (version, known["kind"]) in KINDS:
                roots[f"{version}/{known['kind']}"] = name
    kept: dict[str, Schema] = {}
    todo = list(roots.values())
    while todo:
        name = todo.pop()
        if name not in kept:
            kept[name] = _strict(definitions[name])
            todo += _references(definitions[name])
    return {"kinds": dict(sorted(roots.items())), "definitions": dict(sorted(kept.items()))}


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"].rsplit("/", 1)[1]] if isinstance(value.get("$ref"), str) else []
        return own + [name for item in value.values() for name in _references(item)]
    return [name for item in value for name in _references(item)] if isinstance(value, list) else []


def _strict(value: Any, *, of_fields: bool = False) -> Any:
    """Return a schema without descriptions that refuses unknown properties; with `of_fields`, a map of such schemas."""
    if isinstance(value, list):
        return [_strict(item) for item in value]
    if not isinstance(value, dict):
        return value
    if of_fields:
        return {name: _strict(item) for name, item in value.items()}
    if "$ref" in value:
        return {"$ref": "#/definitions/" + value["$ref"].rsplit("/", 1)[1]}
    kept = {
        name: _strict(item, of_fields=name == "properties")
        for name, item in value.items()
        if name not in ("description", "format") and not name.startswith("x-")
    }
    if "properties" in kept:
        kept.setdefault("additionalProperties", False)
    quantity = value.get("type") == "string" and "ixed-point" in value.get("description", "")
    if quantity or value.get("format") == "int-or-string":
        kept["type"] = ["string", "number"]
    return kept


def main() -> None:
    """Write the file of one version."""
    version, source = sys.argv[1:]
    schema = vendored(json.loads(Path(source).read_text()))
    text = json.dumps(schema, separators=(",", ":"), sort_keys=True)
    # One definition per line makes differences between versions readable.
    text = text.replace('},"io.', '},\n"io.')
    (FOLDER / f"kubernetes-{version}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    main()
