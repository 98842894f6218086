"""One real platform and one real browser for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, sync_playwright

from edge_demo.platform import Platform, PlatformSpec, WorkerSpec
from edge_images.commands import UnavailableError
from edge_provider.ui import STATIC
from edge_testing.programs.packages import find_chromium
from edge_testing.repository import REPOSITORY
from edge_testing.skipping import cannot_run
from edge_testing.ui.browser import Visit

PASSWORDS = {"anna": "anna-s-password", "vera": "vera-s-password"}
USERS = {
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "anna:admin,vera:viewer",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tests and tasks share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def platform(shared: Path) -> Iterator[Platform]:
    if not STATIC.is_dir():
        cannot_run("the fleet page was not built: make setup needs npm's registry")
    folder = {"TEST_FOLDER": str(shared)}
    spec = PlatformSpec(
        dags=REPOSITORY / "tests" / "airflow" / "dags",
        executor="LocalExecutor,edge_provider.executor.EdgeExecutor",
        workers=[WorkerSpec("alpha", env=folder), WorkerSpec("beta", ("beta",), 4, env=folder)],
        airflow_env={**folder, **USERS},
        passwords=PASSWORDS,
    )
    with TemporaryDirectory(prefix="airflow-edge-tests-") as home, Platform(Path(home), spec) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        program = find_chromium()
    except UnavailableError as error:
        cannot_run(error)
    # It runs an event loop of its own in this thread: other modules' asynchronous tests can't run before it ends.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@pytest.fixture
def anna(platform: Platform, browser: Browser) -> Iterator[Visit]:
    """An administrator who looks at the fleet page."""
    with Visit.of(browser, platform, "anna", PASSWORDS["anna"]) as visit:
        yield visit


@pytest.fixture
def vera(platform: Platform, browser: Browser) -> Iterator[Visit]:
    """A viewer who looks at the fleet page."""
    with Visit.of(browser, platform, "vera", PASSWORDS["vera"]) as visit:
        yield visit
