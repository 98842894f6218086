"""Fixtures for hosts."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.execution_api import ExecutionApi
from tests.hosts.unit_file import REPOSITORY


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of this project that a worker needs."""
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
