"""The tests of the chart need helm, and some of them a control plane."""

import secrets
from collections.abc import Iterator

import pytest

from tests.chart.installation import Installation
from tests.cluster.binaries import NoClusterError, find_binaries, find_helm
from tests.cluster.control_plane import ControlPlane
from tests.cluster.needs import cannot_run


@pytest.fixture(scope="session", autouse=True)
def with_helm() -> None:
    """Skip all tests of this folder where there is no helm."""
    try:
        find_helm()
    except NoClusterError as error:
        cannot_run(error)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane without the CRDs: the chart brings them."""
    try:
        binaries = find_binaries()
    except NoClusterError as error:
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
