"""The files of the custom resource definitions; these checks need no apiserver."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CRDS = sorted((Path(__file__).parents[3] / "crds").glob("*.yaml"))


def undescribed(schema: dict[str, Any], path: str) -> Iterator[str]:
    for name, field in (schema.get("properties") or {}).items():
        here = f"{path}.{name}"
        if "description" not in field:
            yield here
        yield from undescribed(field, here)
    if "items" in schema:
        yield from undescribed(schema["items"], f"{path}[]")


@pytest.mark.parametrize("file", CRDS, ids=[file.stem for file in CRDS])
def test_every_field_is_described(file: Path) -> None:
    schema = yaml.safe_load(file.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    parts = (schema["properties"]["spec"], schema["properties"]["status"])
    assert [path for part in parts for path in undescribed(part, "")] == []
