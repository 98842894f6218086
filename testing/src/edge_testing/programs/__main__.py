"""Prepares what takes minutes before tests run, once: `python -m edge_testing.programs [ARGUMENTS OF PYTEST]`.

A test has a time limit that a build does not fit into. Programs that this machine can't have are named; their tests are
skipped, or fail in CI.
"""

import sys
from collections.abc import Callable, Sequence

from edge_images.commands import UnavailableError
from edge_testing.programs.binaries import find_binaries, find_helm, find_oldest_helm
from edge_testing.programs.prometheus import find_prometheus

USERS = ("tests/chart", "tests/kube")
"""Folders whose tests use these programs."""


def main(arguments: Sequence[str]) -> None:
    """Prepare the programs, unless the arguments name tests that do not use them."""
    named = [argument for argument in arguments if argument.startswith("tests/")]
    if named and not any(argument.startswith(USERS) for argument in named):
        return
    finders: tuple[Callable[[], object], ...] = (
        lambda: find_binaries(may_build=True),
        find_helm,
        find_oldest_helm,
        lambda: find_prometheus("promtool"),
    )
    for find in finders:
        try:
            find()
        except UnavailableError as error:
            sys.stdout.write(f"{error}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
