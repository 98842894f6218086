"""The fleet page in a real browser, in a real Airflow, with a real edge API and real workers."""

import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, expect

from edge_demo.environment import base_env
from edge_demo.platform import Platform, WorkerSpec
from edge_testing.airflow.held_run import HeldRun
from edge_testing.repository import REPOSITORY
from edge_testing.ui.browser import Visit

PASSWORD = "anna-s-password"
IMAGES = REPOSITORY / "docs" / "images"
TABS = ("", "?tab=queues", "?tab=jobs", "?tab=add", "?tab=audit", "?worker=alpha")


def test_a_worker_comes_and_goes_while_the_page_is_open(anna: Visit, platform: Platform) -> None:
    anna.open()
    anna.wait_state("alpha", "Idle")
    process = platform.add_worker(WorkerSpec("guest"))
    anna.wait_state("guest", "Idle")
    process.end(60)
    anna.wait_state("guest", "Offline")
    anna.page.get_by_label("Select guest").check(force=True)
    anna.page.get_by_role("button", name="Remove", exact=True).click()
    dialog = anna.page.get_by_role("alertdialog")
    expect(dialog).to_contain_text("its credentials are revoked")
    dialog.get_by_role("button", name="Remove", exact=True).click()
    anna.row("guest").wait_for(state="detached")


def test_bulk_maintenance_is_in_the_audit_trail_under_the_users_name(anna: Visit) -> None:
    comment = f"new disk {uuid4().hex[:8]} <b>&"
    anna.open("?text=a")
    for name in ("alpha", "beta"):
        anna.page.get_by_label(f"Select {name}").check(force=True)
    anna.page.get_by_role("button", name="Start maintenance").click()
    dialog = anna.page.get_by_role("dialog")
    expect(dialog).to_contain_text("2 workers will be given no more tasks")
    dialog.get_by_label("Comment").fill(comment)
    dialog.get_by_role("button", name="Start maintenance").click()
    for name in ("alpha", "beta"):
        anna.wait_state(name, "Maintenance")
        expect(anna.row(name)).to_contain_text(comment)
    anna.page.get_by_role("button", name="End maintenance").click()
    anna.page.get_by_role("dialog").get_by_role("button", name="End maintenance").click()
    for name in ("alpha", "beta"):
        anna.wait_state(name, "Idle")
    anna.page.get_by_role("tab", name="Audit").click()
    entry = anna.page.get_by_role("row").filter(has_text=comment)
    expect(entry).to_have_count(2)
    expect(entry.first).to_contain_text("anna")


def test_a_job_that_cannot_start_is_explained_and_then_starts(anna: Visit, platform: Platform, shared: Path) -> None:
    anna.open()
    anna.page.get_by_label("Select alpha").check(force=True)
    anna.page.get_by_role("button", name="Start maintenance").click()
    anna.page.get_by_role("dialog").get_by_label("Comment").fill("a test")
    anna.page.get_by_role("dialog").get_by_role("button", name="Start maintenance").click()
    anna.wait_state("alpha", "Maintenance")
    held = HeldRun(platform, shared, "hold", f"hold-{uuid4().hex[:8]}")
    anna.page.get_by_role("tab", name="Jobs").click()
    anna.page.get_by_role("row").filter(has_text=held.run_id).get_by_role("button", name="Why?").first.click()
    expect(anna.page.get_by_role("dialog")).to_contain_text("maintenance")
    anna.page.get_by_role("dialog").get_by_role("button", name="Close").click()
    anna.page.get_by_role("tab", name="Workers").click()
    anna.page.get_by_role("button", name="alpha", exact=True).click()
    anna.page.get_by_role("dialog").get_by_role("button", name="End maintenance").click()
    anna.page.get_by_role("dialog", name="End maintenance").get_by_role("button", name="End maintenance").click()
    held.wait_for("start", [held.jobs()[0].task_id])
    job = held.jobs()[0]
    anna.page.goto(f"/dags/hold/runs/{held.run_id}/tasks/{job.task_id}/plugin/edge-task")
    expect(anna.page.get_by_role("table", name="Timeline")).to_contain_text("alpha")
    assert held.finish() == "success"


def test_the_printed_command_enrols_a_worker(anna: Visit, platform: Platform, tmp_path: Path) -> None:
    anna.open("?tab=add")
    anna.page.get_by_text("Command line").click()
    anna.page.get_by_label("Name or pattern").fill("newcomer")
    anna.page.get_by_role("button", name="Create a join token").click()
    token = anna.page.get_by_role("region", name="Join token").inner_text()
    command = anna.page.get_by_role("region", name="On the host").inner_text()
    assert token not in command
    assert token not in anna.page.url
    env = {**base_env(tmp_path), "EDGE_WORKER_STATE_DIR": str(tmp_path / "state")}
    env["PATH"] = f"{platform.spec.programs}{os.pathsep}{env['PATH']}"
    subprocess.run(["sh", "-c", command], input=token, env=env, text=True, check=True, timeout=60)
    assert platform.rows("SELECT 1 FROM edge.credential WHERE worker_name = 'newcomer'")


def test_reload_and_back_keep_tab_and_filter(anna: Visit) -> None:
    anna.open("?state=idle&queue=beta")
    anna.row("beta").wait_for()
    assert anna.row("alpha").count() == 0
    anna.page.get_by_role("tab", name="Queues").click()
    anna.page.get_by_role("table", name="Queues").wait_for()
    anna.page.reload()
    anna.page.get_by_role("table", name="Queues").wait_for()
    anna.page.go_back()
    anna.row("beta").wait_for()
    assert anna.page.get_by_label("State").input_value() == "idle"


def test_a_viewer_sees_no_actions(vera: Visit) -> None:
    vera.open("?worker=alpha")
    vera.page.get_by_role("dialog").get_by_text("Last contact").wait_for()
    assert vera.page.get_by_role("button", name="Shut down").count() == 0
    assert vera.page.get_by_label("Select alpha").count() == 0
    assert vera.page.get_by_role("tab", name="Add a worker").count() == 0


def test_a_session_that_ends_leads_to_the_login_and_back(anna: Visit) -> None:
    anna.allowed = ["401", "403"]
    anna.open("?state=idle")
    anna.page.context.clear_cookies()
    anna.page.wait_for_url("**/auth/login**")
    assert "state%3Didle" in anna.page.url


def test_the_dashboard_has_a_line(anna: Visit) -> None:
    anna.page.goto("/")
    expect(anna.page.get_by_role("region", name="Edge fleet")).to_contain_text("workers online")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_the_pages(platform: Platform, browser: Browser, scheme: str) -> None:
    """Axe finds no serious violation; with EDGE_SCREENSHOTS the images of the documentation are taken again."""
    with Visit.of(browser, platform, "anna", PASSWORD, "dark" if scheme == "dark" else "light") as visit:
        for query in TABS:
            visit.open(query)
            visit.page.get_by_text("Loading …").first.wait_for(state="detached")
            assert visit.serious_violations() == []
            if os.environ.get("EDGE_SCREENSHOTS"):
                name = query.removeprefix("?tab=").removeprefix("?").split("=")[0] or "workers"
                visit.page.screenshot(path=IMAGES / f"fleet-{name}-{scheme}.png")
