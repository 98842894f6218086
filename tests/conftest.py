"""Fixtures for all tests: one embedded PostgreSQL for the session, and a migrated database of its own per test."""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["edge_testing.database.fixtures", "edge_testing.figures"]

COSTLY = frozenset({"airflow", "cluster", "e2e", "kube", "v1"})
"""Folders whose tests share what takes long to start: each goes to one process as a whole."""


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Of tests that run in several processes, keeps together a costly folder, else a file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        folder = file.split("/")[1]
        return folder if folder in COSTLY else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFolder:
    """Give pytest-xdist its scheduler."""
    return ByFolder(config, log)
