"""Copies descriptions into values.schema.json: comments of values.yaml, settings of the edge API and the operator.

People read values.yaml; editors and helm read the schema. This keeps the two the same. Run it after a
change of either: `python -m edge_testing.chart.describe`.
"""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic_settings import BaseSettings

from edge_api.settings import ApiSettings
from edge_operator.settings import OperatorSettings
from edge_testing.repository import CHART

SCHEMA = CHART / "values.schema.json"
VALUES = CHART / "values.yaml"

LINE = re.compile(r"^(?P<indent> *)(?:# ?(?P<comment>.*)|(?P<key>[A-Za-z0-9_./-]+):(?P<rest>.*))$")
DEFINITION = re.compile(r"^#/\$defs/(\w+)$")

SET_BY_CHART = {
    "edgeApi": {
        *("database_url", "host", "port", "site_port", "execution_api_url", "forwarded_allow_ips", "v1_jwt_secret"),
    },
    "operator": {
        *("api_url", "admin_token_file", "ca_bundle", "worker_image", "namespaces", "namespace_bounds"),
        *("external_namespace", "kubeconfig"),
        *("lease_namespace", "lease_name", "identity", "host", "port"),
    },
}
"""Settings that have values of their own and so cannot be set twice."""

Schema = dict[str, Any]


def comments(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the path of each value and the comment right above it, or an empty text."""
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        match = LINE.match(line)
        if match is None:
            comment = []
        elif match["comment"] is not None:
            comment.append(match["comment"])
        elif match["key"]:
            indent = len(match["indent"])
            path = [*(part for part in path if part[0] < indent), (indent, match["key"])]
            yield tuple(key for _, key in path), " ".join(comment)
            comment = []


def place(schema: Schema, path: tuple[str, ...]) -> Schema | None:
    """Return the schema of a value, or None if the schema leaves its content open. References are followed."""
    here = schema
    for key in path:
        reference = DEFINITION.match(here.get("$ref", ""))
        if reference:
            here = schema["$defs"][reference[1]]
        if key not in here.get("properties", {}):
            return None
        here = here["properties"][key]
    return here


def described(schema: Schema, text: str) -> Schema:
    """Return the schema with the descriptions of values.yaml."""
    result: Schema = json.loads(json.dumps(schema))
    seen: set[int] = set()
    for path, comment in comments(text):
        here = place(result, path)
        # The first use of a definition describes it.
        if here is not None and comment and id(here) not in seen:
            here["description"] = comment
            seen.add(id(here))
    for component, model in (("edgeApi", ApiSettings), ("operator", OperatorSettings)):
        settings = result["properties"][component]["properties"]["settings"]
        settings["properties"] = {
            name: {"type": ["string", "number", "boolean"], "description": text}
            for name, text in field_texts(model).items()
            if name not in SET_BY_CHART[component]
        }
    return result


def field_texts(model: type[BaseSettings]) -> dict[str, str]:
    """Return the text below each field of a settings class."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseSettings) or base is BaseSettings:
            continue
        (definition,) = ast.parse(inspect.getsource(base)).body
        if isinstance(definition, ast.ClassDef):
            texts |= {name: text for name, text in _fields(definition) if name in model.model_fields}
    return texts


def _fields(definition: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        match (field, text):
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(written))):
                yield name, " ".join(written.split())


def main() -> None:
    """Update the schema."""
    schema = described(json.loads(SCHEMA.read_text()), VALUES.read_text())
    SCHEMA.write_text(dump(schema))


def dump(schema: Schema) -> str:
    """Return the schema as the file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
