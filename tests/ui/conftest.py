"""One real platform and one real browser for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, sync_playwright

from edge_demo.platform import Platform
from edge_images.commands import UnavailableError
from edge_testing.programs.packages import find_chromium
from edge_testing.skipping import cannot_run
from edge_testing.ui.browser import Visit
from edge_testing.ui.platform import PASSWORDS, spec_with_page


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tests and tasks share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def platform(shared: Path) -> Iterator[Platform]:
    with (
        TemporaryDirectory(prefix="airflow-edge-tests-") as home,
        Platform(Path(home), spec_with_page(shared)) as started,
    ):
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
