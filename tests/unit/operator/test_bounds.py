"""Bounds of namespaces: which workers, teams and queues a namespace may have."""

from typing import Any

import pytest
from pydantic import ValidationError

from edge_operator.api.bounds import NamespaceBounds
from edge_operator.api.types import WorkerSpec
from edge_operator.settings import OperatorSettings
from edge_testing.operator.builders import make_view

PRESS = NamespaceBounds(namespace="press", worker_pattern="press-*", team="blue", queues=["press", "paint"])


def settings(*bounds: NamespaceBounds, **more: Any) -> OperatorSettings:
    required = {"api_url": "http://edge", "admin_token_file": "/token", "worker_image": "image"}
    return OperatorSettings(**required, namespace_bounds=list(bounds), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "name", "allowed"),
    [
        (None, "anything", True),
        ("press-*", "press-1", True),
        ("press-*", "press", False),
        ("press-*", "xpress-1", False),
        ("press", "press", True),
        ("press", "press-1", False),
    ],
)
def test_names(pattern: str | None, name: str, allowed: bool) -> None:
    bounds = NamespaceBounds(namespace="press", worker_pattern=pattern)
    assert (bounds.worker_refusal(name, None) is None) is allowed


@pytest.mark.parametrize(("team", "allowed"), [("blue", True), ("red", False), (None, False)])
def test_a_worker_of_the_fleet_must_be_of_the_team(team: str | None, allowed: bool) -> None:
    refusal = PRESS.worker_refusal("press-1", make_view("press-1", team=team))
    assert (refusal is None) is allowed


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({}, None),
        ({"team": "blue", "queues": ["paint"]}, None),
        ({"team": "red"}, "spec.team red"),
        ({"queues": ["press", "secret", "*"]}, "spec.queues *, secret"),
    ],
)
def test_specs(spec: dict[str, Any], named: str | None) -> None:
    refusal = PRESS.spec_refusal(WorkerSpec.model_validate(spec))
    assert (refusal is None) if named is None else named in (refusal or "")


def test_without_bounds_all_is_allowed_and_with_bounds_only_listed_namespaces_are() -> None:
    assert settings().bounds_of("other").worker_refusal("any", None) is None
    assert settings(PRESS).bounds_of("press") == PRESS
    refusal = settings(PRESS).bounds_of("other").worker_refusal("press-1", None)
    assert refusal is not None
    assert "namespace other" in refusal


def test_they_are_read_from_the_environment_as_the_chart_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("API_URL", "http://edge"), ("ADMIN_TOKEN_FILE", "/token"), ("WORKER_IMAGE", "image")):
        monkeypatch.setenv(f"EDGE_OPERATOR_{name}", value)
    written = '[{"namespace":"press","queues":["press","paint"],"team":"blue","workerPattern":"press-*"}]'
    monkeypatch.setenv("EDGE_OPERATOR_NAMESPACE_BOUNDS", written)
    assert OperatorSettings().namespace_bounds == [PRESS]


@pytest.mark.parametrize(
    ("bounds", "more", "message"),
    [
        ([PRESS, PRESS], {}, "listed twice"),
        ([PRESS], {"external_namespace": "other"}, "external_namespace"),
        ([{"namespace": "press", "worker": "press-*"}], {}, "Extra inputs"),
        ([{"namespace": "press", "workerPattern": "*-press"}], {}, "pattern"),
    ],
)
def test_mistakes_are_refused(bounds: list[Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(*bounds, **more)
