"""Fixtures for hosts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_testing.database.db import Db
from edge_testing.edge_api.process import ApiProcess
from edge_testing.hosts.control_plane import control_plane
from edge_testing.hosts.execution_api import ExecutionApi
from edge_testing.hosts.programs import AgentPrograms, build_wheels, fetch_agent


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheels of this project's packages that a worker needs."""
    folder = tmp_path_factory.mktemp("wheels")
    build_wheels(folder)
    return folder


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> AgentPrograms:
    """An agent's programs for `install.sh`."""
    return fetch_agent(tmp_path_factory.mktemp("programs"), wheels)


@pytest.fixture(scope="module")
def execution() -> Iterator[ExecutionApi]:
    with ExecutionApi() as served:
        yield served


@pytest.fixture(scope="module")
def api(
    module_database: str, address: str, execution: ExecutionApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiProcess]:
    """An edge API; a file's fixture `address` is this machine's address for its host."""
    with control_plane(address, module_database, tmp_path_factory.mktemp("api") / "api.log", execution) as process:
        yield process


@pytest.fixture
def db(api: ApiProcess) -> Iterator[Db]:
    """The database of the edge API."""
    with Db(api.database) as opened:
        yield opened
