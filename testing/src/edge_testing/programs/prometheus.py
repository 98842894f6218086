"""Finds Prometheus and promtool: on PATH or in Debian's package, which needs libc only."""

import shutil
import subprocess
from pathlib import Path

from edge_images.commands import UnavailableError
from edge_testing.programs.binaries import debian_program
from edge_testing.skipping import cannot_run


def find_prometheus(name: str) -> Path:
    """Return the path of `prometheus` or `promtool`.

    Raises:
        UnavailableError: there is none.

    """
    found = shutil.which(name)
    return Path(found) if found else debian_program("prometheus", name)


def prometheus_program(name: str) -> Path:
    """Return the path of `prometheus` or `promtool`; skip (in CI: fail) the test if there is none."""
    try:
        return find_prometheus(name)
    except UnavailableError as error:
        cannot_run(error)


def promtool(*arguments: str, stdin: str | None = None) -> None:
    """Check that promtool succeeds.

    Raises:
        AssertionError: it failed; the message has its output.

    """
    command = [str(prometheus_program("promtool")), *arguments]
    done = subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
