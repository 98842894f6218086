"""A pytest plugin that writes what tests took and how they ended: `--results FILE`, which `make test-slow` commits.

Tests that did not run this time keep their last result.
"""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_testing.repository import REPOSITORY


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--results", metavar="FILE", type=Path, help="update FILE with the results of the tests that run")


def pytest_configure(config: pytest.Config) -> None:
    """Collect results where the reports of all processes arrive."""
    file = config.getoption("--results")
    if file is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(file))


class Results:
    """The results of one run."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds: dict[str, float] = {}
        self._outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Sum up the phases of a test; the worst outcome counts."""
        name = report.nodeid
        self._seconds[name] = self._seconds.get(name, 0) + report.duration
        if self._outcomes.get(name, "passed") == "passed":
            self._outcomes[name] = report.outcome

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        today, commit = datetime.now(UTC).date().isoformat(), _commit()
        for name, outcome in self._outcomes.items():
            seconds = round(self._seconds[name])
            known[name] = {"outcome": outcome, "seconds": seconds, "date": today, "commit": commit}
        self._file.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")


def _commit() -> str:
    """Return the commit that was tested; with changes that are not committed it ends with `-dirty`."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
