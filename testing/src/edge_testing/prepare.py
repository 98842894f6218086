"""Prepares what takes minutes before tests run, once: `python -m edge_testing.prepare [--slow] [ARGUMENTS OF PYTEST]`.

A test has a time limit that a build does not fit into. What this machine can't have is named; tests that need it are
skipped, or fail in CI.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_images.build import build
from edge_images.commands import UnavailableError
from edge_testing.airflow.edge3 import edge3_python
from edge_testing.airflow.fab import fab_python
from edge_testing.cluster.choice import REGISTRY, TAG, prepare_cluster
from edge_testing.cluster.companions import SYSTEMD_IMAGE, build_systemd_image
from edge_testing.programs.binaries import find_binaries, find_helm, find_oldest_helm
from edge_testing.programs.packages import find_chromium, install_container_packages, install_podman_packages
from edge_testing.programs.prometheus import find_prometheus


@dataclass(frozen=True)
class Step:
    """Something to prepare, and the folders whose tests need it."""

    name: str
    folders: tuple[str, ...]
    prepare: Callable[[], object]
    slow: bool = False
    """Only slow tests need it."""


def _worker_image() -> None:
    install_container_packages()
    build(REGISTRY, TAG, ["worker"])


def _systemd_image() -> None:
    install_podman_packages()
    build_systemd_image(SYSTEMD_IMAGE)


STEPS = (
    Step("Kubernetes programs", ("chart", "kube", "e2e"), lambda: find_binaries(may_build=True)),
    Step("helm", ("chart", "e2e"), find_helm),
    Step("the oldest helm", ("chart",), find_oldest_helm),
    Step("promtool", ("chart", "e2e"), lambda: find_prometheus("promtool")),
    Step("Prometheus", ("e2e",), lambda: find_prometheus("prometheus")),
    Step("packages and images for a cluster", ("e2e",), prepare_cluster),
    Step("packages and the image for a Compose project", ("hosts",), _worker_image),
    Step("packages and the image of a host with systemd", ("hosts",), _systemd_image),
    Step("a browser", ("ui",), find_chromium),
    Step("Airflow with the FAB auth manager", ("provider",), fab_python),
    Step("Airflow with the edge3 provider", ("v1",), edge3_python, slow=True),
)


def chosen(arguments: Sequence[str]) -> list[Step]:
    """Return the steps for these arguments; without a path among them, all tests run."""
    paths = [argument.split("/") for argument in arguments if argument.split("/")[0] == "tests"]
    folders = {path[1] for path in paths if len(path) > 1 and path[1]}
    everything = len(folders) < len(paths) or not paths
    slow = "--slow" in arguments
    return [step for step in STEPS if (everything or not folders.isdisjoint(step.folders)) and (slow or not step.slow)]


def main(arguments: Sequence[str]) -> None:
    """Prepare what the tests need that these arguments of pytest select, and print how long each step took."""
    for step in chosen(arguments):
        begin = time.monotonic()
        _show(f"Preparing {step.name} ...")
        try:
            step.prepare()
        except UnavailableError as error:
            _show(f"  {error}")
        else:
            _show(f"  {time.monotonic() - begin:.0f} s")


def _show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
