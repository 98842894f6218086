"""The fleet page below a path, with two api-servers and two edge APIs: what happens when one of them has a fault."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from edge_demo.environment import LOCALHOST
from edge_demo.platform import Platform
from edge_testing.airflow.held_run import HeldRun
from edge_testing.relay import Relay
from edge_testing.ui.browser import Visit
from edge_testing.ui.platform import spec_with_page
from edge_testing.ui.stand_in import stand_in

PATH = "/airflow"


class Replicas(Platform):
    """Both api-servers have one URL for the edge APIs, behind which is the first that takes a connection."""

    balancer: Relay

    def restart_edge_apis(self) -> None:
        for number in range(2):
            process = self.processes[f"edge-api-{number}"]
            if not process.running:
                process.start()
            self.wait_edge_api(number)


@pytest.fixture(scope="module")
def platform(shared: Path) -> Iterator[Replicas]:
    with ExitStack() as stack:
        home = stack.enter_context(TemporaryDirectory(prefix="airflow-edge-tests-"))
        platform = Replicas(Path(home), spec_with_page(shared, base_path=PATH, edge_apis=2))
        ports = [int(url.rsplit(":", 1)[1]) for url in platform.edge_api_urls]
        platform.balancer = stack.enter_context(Relay(*ports))
        platform.admin_api_url = f"http://{LOCALHOST}:{platform.balancer.port}"
        yield stack.enter_context(platform)


def test_everything_is_below_the_path(anna: Visit, platform: Platform, shared: Path) -> None:
    asked: set[str] = set()
    anna.page.on("request", lambda request: asked.add(request.url))
    held = HeldRun(platform, shared, "hold_one", "below-a-path")
    held.wait_for("start", ["a"])
    anna.page.goto(f"{platform.airflow_url}/")
    summary = anna.page.get_by_role("region", name="Edge fleet")
    expect(summary).to_contain_text("2 of 2 workers online")
    summary.get_by_role("link", name="Edge fleet").click()
    anna.wait_state("alpha", "Running")
    for tab in ("Queues", "Add a worker", "Audit", "Jobs"):
        anna.page.get_by_role("tab", name=tab).click()
        anna.page.get_by_text("Loading …").first.wait_for(state="detached")
    anna.page.get_by_role("link", name="hold_one.a").click()
    expect(anna.page.get_by_text(re.compile(r"^line \d+$")).first).to_be_visible()
    anna.page.get_by_role("link", name="Edge task").click()
    anna.page.get_by_role("link", name="alpha").click()
    anna.page.get_by_role("dialog", name="alpha").wait_for()
    assert urlsplit(anna.page.url).path == f"{PATH}/plugin/edge"
    assert held.finish() == "success"
    paths = [urlsplit(url).path for url in asked if url.startswith("http")]
    assert [path for path in paths if not path.startswith(f"{PATH}/")] == []


def test_what_is_done_through_one_replica_is_seen_through_the_other(anna: Visit, platform: Replicas) -> None:
    with anna.another(platform.add_api_server()) as other:
        for visit in (anna, other):
            visit.open()
            visit.wait_state("beta", "Idle")
        anna.select("beta")
        anna.act("Start maintenance", "new disk")
        other.wait_state("beta", "Maintenance")
        platform.processes["edge-api-0"].kill()
        other.select("beta")
        other.act("End maintenance")
        anna.wait_state("beta", "Idle")
        for visit in (anna, other):
            expect(visit.page.get_by_text("Shown is the state of")).to_have_count(0)
        platform.restart_edge_apis()


def test_a_slow_edge_api_is_named_and_the_last_state_stays(anna: Visit, platform: Replicas) -> None:
    anna.open()
    anna.wait_state("beta", "Idle")
    platform.balancer.stop_forwarding()
    expect(anna.page.get_by_text("The edge API did not answer in time.")).to_be_visible()
    expect(anna.page.get_by_text("Shown is the state of")).to_be_visible()
    anna.wait_state("beta", "Idle")
    # The browser itself notes each answer that is an error.
    anna.allowed = ["503 (Service Unavailable)"]
    anna.select("beta")
    anna.button("Start maintenance").click()
    dialog = anna.page.get_by_role("dialog")
    dialog.get_by_label("Comment").fill("new disk")
    dialog.get_by_role("button", name="Start maintenance").click()
    expect(dialog).to_contain_text("The edge API did not answer in time.")
    platform.balancer.resume_forwarding()
    expect(anna.page.get_by_text("Shown is the state of")).to_have_count(0)


def test_an_edge_api_of_another_version_is_named(anna: Visit, platform: Replicas) -> None:
    anna.allowed = ["503 (Service Unavailable)"]
    anna.open()
    anna.wait_state("beta", "Idle")
    for name in ("edge-api-0", "edge-api-1"):
        platform.processes[name].end(60)
    port = int(platform.edge_api_urls[0].rsplit(":", 1)[1])
    with stand_in(200, "application/json", '{"items": [{"name": 1}]}', port):
        words = anna.page.get_by_text("Give Airflow and the edge API the same version of Airflow Edge.")
        expect(words).to_be_visible()
        anna.row("beta").wait_for()
        for tab in ("Queues", "Jobs"):
            anna.page.get_by_role("tab", name=tab).click()
            expect(words).to_be_visible()
    platform.restart_edge_apis()
    anna.page.get_by_role("tab", name="Workers").click()
    anna.wait_state("beta", "Idle")
