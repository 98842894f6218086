"""Fixtures of the suite on a real cluster: one release for all tests, since an installation takes a minute."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_images.commands import UnavailableError
from edge_testing.airflow.asking import ask
from edge_testing.cluster.choice import Cluster, open_cluster
from edge_testing.figures import figures
from edge_testing.release.release import Release
from edge_testing.repository import EXAMPLES
from edge_testing.skipping import cannot_run
from edge_testing.waiting import eventually

WORKER = "plant-7"
"""The worker of examples/edgeworker.yaml."""
LAST = ("test_uninstall.py", "test_forms.py")
"""Files that run last, in this order: other installation modes need the platform to be uninstalled."""

TIMEOUT_S = 1500
"""For one test with the fixtures that it may be the first to need: images, cluster, installation."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests a timeout that covers shared fixtures, and sort them."""
    here = Path(__file__).parent
    places = [place for place, item in enumerate(items) if item.path.is_relative_to(here)]
    mine = sorted((items[place] for place in places), key=_turn)
    for place, item in zip(places, mine, strict=True):
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))
        items[place] = item


def _turn(item: pytest.Item) -> int:
    return LAST.index(item.path.name) if item.path.name in LAST else -1


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster whose nodes have the images."""
    began = time.monotonic()
    try:
        with open_cluster() as opened:
            figures["images_and_cluster_s"] = round(time.monotonic() - began, 1)
            figures["image_sizes"] = opened.image_sizes
            yield opened
    except UnavailableError as error:
        cannot_run(error)
    figures["suite_s"] = round(time.monotonic() - began, 1)


@pytest.fixture(scope="session")
def release(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The chart, installed."""
    with Release(cluster, tmp_path_factory.mktemp("release")) as made:
        began = time.monotonic()
        made.install()
        figures["helm_install_to_ready_s"] = round(time.monotonic() - began, 1)
        made.connect()
        eventually(lambda: "hold_pool" in ask(made.airflow.dag_ids), "the DAGs are read", 120)
        for dag in ask(made.airflow.dag_ids):
            made.airflow.unpause(dag)
        yield made


@pytest.fixture(autouse=True)
def no_task_is_left_waiting(request: pytest.FixtureRequest) -> Iterator[None]:
    """Release the tasks that a failed test still holds: the next test would wait for them."""
    yield
    if "release" not in request.fixturenames:
        return
    release: Release = request.getfixturevalue("release")
    while release.holds:
        release.holds.pop().let_go()


@pytest.fixture(scope="session")
def worker(release: Release) -> str:
    """Name of the example's worker, which is Ready; a task had waited for it.

    Its pod can reach the edge API and DNS only, as far as the network enforces policies.
    """
    release.kubectl("apply", "-f", str(EXAMPLES / "networkpolicy-workers.yaml"))
    hold = release.start_hold("hold_default", 1)
    began = time.monotonic()
    release.kubectl("apply", "-f", str(EXAMPLES / "edgeworker.yaml"))
    eventually(lambda: _any_started(release, hold.run), "the first task runs", 120, lambda: release.pods(""))
    figures["edgeworker_applied_to_first_task_s"] = round(time.monotonic() - began, 1)
    hold.finish()
    release.wait_ready("edgeworker", WORKER)
    return WORKER


def _any_started(release: Release, run: str) -> bool:
    tasks = ask(lambda: release.airflow.task_instances("hold_default", run))
    return any(task["state"] in ("running", "success") for task in tasks)
