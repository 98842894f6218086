"""Plugins of all tests, and the distribution of tests to parallel processes."""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = [
    "edge_testing.database.fixtures",
    "edge_testing.figures",
    "edge_testing.slow",
    "edge_testing.warm.start",
]

COSTLY = ("e2e", "kube", "v1", "airflow", "ui", "outages", "hosts", "cluster")
"""Folders whose tests share fixtures that take long to start: one process runs all tests of such a folder.

They come first, the longest first: what begins last should be short, so that no process waits long for the other.
"""


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Runs the tests of a costly folder in one process; other tests are distributed by file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        folder = file.split("/")[1]
        return folder if folder in COSTLY else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFolder:
    """Give pytest-xdist its scheduler."""
    return ByFolder(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by folder."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    folder = item.nodeid.split("/")[1]
    return COSTLY.index(folder) if folder in COSTLY else len(COSTLY)
