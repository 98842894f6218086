"""Fixtures of the chart's tests: all need helm, some a control plane."""

import secrets
from collections.abc import Iterator

import pytest

from edge_images.commands import UnavailableError
from edge_testing.chart.installation import Installation
from edge_testing.kubernetes.control_plane import ControlPlane
from edge_testing.programs.binaries import find_binaries, find_helm
from edge_testing.skipping import cannot_run


@pytest.fixture(scope="session", autouse=True)
def with_helm() -> None:
    """Skip all tests of this folder where there is no helm."""
    try:
        find_helm()
    except UnavailableError as error:
        cannot_run(error)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane without the CRDs: the chart brings them."""
    try:
        binaries = find_binaries()
    except UnavailableError as error:
        cannot_run(error)
    with ControlPlane(tmp_path_factory.mktemp("chart"), binaries) as control_plane:
        yield control_plane


@pytest.fixture
def place(cluster: ControlPlane) -> Iterator[Installation]:
    """A namespace of its own with helm in it."""
    name = f"chart-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    yield Installation(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
