"""Figures that tests measure, printed as one line of JSON at the end of a run; nothing asserts on them."""

import json
from typing import Any

import pytest

figures: dict[str, object] = {}
_KEY = "figures"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the figures of a pytest-xdist worker to the controller."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_KEY] = figures


def pytest_testnodedown(node: Any) -> None:
    """Collect them; a worker that crashed sends none."""
    figures.update(getattr(node, "workeroutput", {}).get(_KEY, {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    if figures:
        terminalreporter.write_line(json.dumps(figures))
