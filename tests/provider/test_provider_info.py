"""Airflow reads the provider's metadata, and every name in it exists."""

import json
from importlib.resources import files
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from airflow._shared.module_loading import import_string
from airflow.logging.remote import RemoteLogStreamIO

from edge_provider.log_reader import EdgeTaskLog
from edge_provider.provider_info import get_provider_info


def test_info_follows_the_schema() -> None:
    schema: dict[str, Any] = json.loads((files("airflow") / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


@pytest.mark.parametrize(
    "name",
    [
        *get_provider_info()["executors"],
        *get_provider_info()["cli"],
        get_provider_info()["remote-logging"][0]["classpath"],
    ],
)
def test_names_can_be_imported(name: str) -> None:
    assert callable(import_string(name))


def test_reader_is_what_airflow_streams_from() -> None:
    reader = EdgeTaskLog.from_config()
    assert isinstance(reader, RemoteLogStreamIO)
    assert reader.processors == ()
