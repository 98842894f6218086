"""Fixtures of the tests on a real apiserver: one control plane for the session, everything else per test."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_images.commands import UnavailableError
from edge_testing.database.db import Db
from edge_testing.edge_api.process import ApiProcess
from edge_testing.kubernetes.control_plane import ControlPlane
from edge_testing.operator.site import Site
from edge_testing.programs.binaries import Binaries, find_binaries
from edge_testing.repository import CRDS
from edge_testing.skipping import cannot_run


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    """The programs of a control plane."""
    try:
        return find_binaries()
    except UnavailableError as error:
        cannot_run(error)


@pytest.fixture(scope="session")
def cluster(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with the CRDs."""
    print(binaries.source)  # noqa: T201  (the source of the programs)
    with ControlPlane(tmp_path_factory.mktemp("cluster"), binaries) as control_plane:
        control_plane.install_crds(CRDS)
        yield control_plane


@pytest.fixture
def namespace(cluster: ControlPlane) -> Iterator[str]:
    """A namespace that only this test uses."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture
def edge_api(database: str, tmp_path: Path) -> Iterator[ApiProcess]:
    """An edge API that is still starting; its workers count as unknown after three seconds of silence."""
    api = ApiProcess(database, tmp_path / "api.log", heartbeat_interval_s=1)
    api.start()
    yield api
    api.kill()
    api.assert_no_traceback()


@pytest.fixture
def starting_site(cluster: ControlPlane, namespace: str, edge_api: ApiProcess, tmp_path: Path) -> Iterator[Site]:
    """A namespace with a node, and an edge API that is still starting. At the end no operator may lack a right."""
    with Db(edge_api.database) as db:
        site = Site(cluster, namespace, tmp_path, edge_api, db)
        site.grant()
        with site.node:
            yield site
            for operator in site.operators:
                operator.kill()
        site.close()
        problems = [line for operator in site.operators for line in operator.problems()]
        assert not problems, problems[:5]


@pytest.fixture
def bare_site(starting_site: Site) -> Site:
    """A namespace with a node and an edge API; no operator yet."""
    starting_site.api.wait_ready()
    return starting_site


@pytest.fixture
def site(starting_site: Site) -> Site:
    """A namespace with everything running."""
    starting_site.start_operator()
    starting_site.api.wait_ready()
    return starting_site
