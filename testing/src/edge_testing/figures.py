"""What tests have measured: told as one line of JSON at the end of a run, and judged by nobody but people."""

import json
from typing import Any

import pytest

figures: dict[str, object] = {}
_KEY = "figures"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what a process of pytest-xdist has measured."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_KEY] = figures


def pytest_testnodedown(node: Any) -> None:
    """Take it over; a process that died has none."""
    figures.update(getattr(node, "workeroutput", {}).get(_KEY, {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print it."""
    if figures:
        terminalreporter.write_line(json.dumps(figures))
