"""The oldest supported helm renders the same objects as the newest."""

import json
import re
from pathlib import Path

import pytest

from edge_images.commands import UnavailableError
from edge_testing.chart.installation import Installation
from edge_testing.chart.render import VALUES, Rendered, helm, render, try_render
from edge_testing.programs.binaries import find_helm, find_oldest_helm
from edge_testing.repository import CHART
from edge_testing.skipping import cannot_run

INSTALL_GUIDE = CHART.parent / "docs" / "install.md"


@pytest.fixture(scope="module")
def oldest() -> Path:
    try:
        return find_oldest_helm()
    except UnavailableError as error:
        cannot_run(error)


@pytest.fixture(params=["oldest", "newest"])
def program(request: pytest.FixtureRequest, oldest: Path) -> Path:
    return oldest if request.param == "oldest" else find_helm()


def test_the_guide_names_the_versions(oldest: Path) -> None:
    promised = re.search(r"helm (\S+) or newer", INSTALL_GUIDE.read_text())
    assert promised is not None
    said = helm("version", "--short", program=oldest).stdout
    assert said.startswith(f"v{promised[1]}."), said


def test_lint_finds_nothing(oldest: Path) -> None:
    done = helm("lint", "--strict", str(CHART), program=oldest)
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout


@pytest.mark.parametrize("mode", VALUES)
def test_they_render_the_same(oldest: Path, mode: str) -> None:
    assert comparable(render(mode, program=oldest)) == comparable(render(mode))


def comparable(made: Rendered) -> list[str]:
    """All objects, in an order that does not depend on the version of helm."""
    return sorted(json.dumps(obj, sort_keys=True) for obj in made.objects)


@pytest.mark.parametrize("mode", VALUES)
def test_two_renders_are_equal(program: Path, mode: str) -> None:
    """A tool that renders and applies again and again would otherwise replace keys that the database depends on."""
    first, second = (try_render(mode, program=program) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert not render(mode, program=program).kind("Secret")


@pytest.mark.parametrize(
    ("value", "key", "fix"),
    [
        ("replicaCount=2", "replicaCount", "not allowed"),
        ("edgeApi.replicas=two", "edgeApi.replicas", "integer"),
        ("ingress.enabled=true", "ingress.host", "Set it to the name"),
    ],
)
def test_an_invalid_value_is_reported_with_its_key_and_a_fix(oldest: Path, value: str, key: str, fix: str) -> None:
    done = try_render("platform", "--set", value, program=oldest)
    assert done.returncode != 0
    assert key in done.stderr
    assert fix in done.stderr


def test_install_upgrade_rollback_and_uninstall(place: Installation, program: Path, tmp_path: Path) -> None:
    place.program = program
    place.create_secrets(tmp_path)
    place.install("--set", "workerPools.north.queues={press}")
    assert place.get("edgeworkerpools.airflow-edge.io")["items"][0]["metadata"]["name"] == "north"
    secrets = place.secrets()
    place.upgrade("--set", "edgeApi.replicas=3")
    assert replicas(place) == 3
    assert place.get("edgeworkerpools.airflow-edge.io")["items"] == []
    second = place.helm("install", "other", str(CHART), "--no-hooks")
    assert "The namespace" in second.stderr
    rolled = place.helm("rollback", "edge", "1", "--no-hooks")
    assert rolled.returncode == 0, rolled.stderr
    assert replicas(place) != 3
    assert place.get("edgeworkerpools.airflow-edge.io")["items"][0]["metadata"]["name"] == "north"
    removed = place.helm("uninstall", "edge", "--no-hooks")
    assert removed.returncode == 0, removed.stderr
    assert place.get("deployment")["items"] == []
    assert place.secrets() == secrets


def replicas(place: Installation) -> int:
    number: int = place.get("deployment", "edge-edge-api")["spec"]["replicas"]
    return number
