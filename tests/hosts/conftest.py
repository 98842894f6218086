"""Fixtures for hosts."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_testing.database.db import Db
from edge_testing.edge_api.process import ApiProcess
from edge_testing.hosts.control_plane import control_plane
from edge_testing.hosts.execution_api import ExecutionApi
from edge_testing.repository import REPOSITORY


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheels of this project's packages that a worker needs."""
    folder = tmp_path_factory.mktemp("wheels")
    uv = REPOSITORY / ".tools/bin/uv"
    for member in ("protocol", "worker_image"):
        command = [str(each) for each in (uv, "build", "--quiet", "--wheel", "--out-dir", folder, REPOSITORY / member)]
        subprocess.run(command, check=True, timeout=120)
    return folder


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
