"""Where Prometheus and its promtool come from: PATH, or Debian's package, of whose dependencies only libc is needed."""

import shutil
import subprocess
from pathlib import Path

from edge_images.commands import UnavailableError
from edge_testing.programs.binaries import debian_program
from edge_testing.skipping import cannot_run


def prometheus_program(name: str) -> Path:
    """Return `prometheus` or `promtool`; a test that asks where there is none ends here, by the rule for that."""
    found = shutil.which(name)
    if found:
        return Path(found)
    try:
        return debian_program("prometheus", name)
    except UnavailableError as error:
        cannot_run(error)


def promtool(*arguments: str, stdin: str | None = None) -> None:
    """Run promtool, which has nothing to find fault with.

    Raises:
        AssertionError: it has; the message is all that it says.

    """
    command = [str(prometheus_program("promtool")), *arguments]
    done = subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
