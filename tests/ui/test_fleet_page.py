"""The fleet page in a real browser, in a real Airflow, with a real edge API and real workers."""

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, expect

from edge_demo.environment import worker_env
from edge_demo.platform import Platform, WorkerSpec
from edge_demo.processes import ManagedProcess
from edge_testing.airflow.held_run import HeldRun
from edge_testing.repository import REPOSITORY
from edge_testing.ui.browser import Visit
from edge_testing.ui.platform import PASSWORDS

IMAGES = REPOSITORY / "docs" / "images"
TABS = ("", "?tab=queues", "?tab=jobs", "?tab=add", "?tab=audit", "?worker=alpha")


def held_run(platform: Platform, shared: Path, dag_id: str) -> HeldRun:
    return HeldRun(platform, shared, dag_id, f"r.~:+-{uuid4().hex[:8]}")


def test_a_worker_comes_and_goes_while_the_page_is_open(anna: Visit, platform: Platform) -> None:
    anna.open()
    anna.wait_state("alpha", "Idle")
    process = platform.add_worker(WorkerSpec("guest"))
    anna.wait_state("guest", "Idle")
    process.end(60)
    anna.wait_state("guest", "Offline")
    anna.select("guest")
    anna.button("Remove").click()
    dialog = anna.page.get_by_role("alertdialog")
    expect(dialog).to_contain_text("its credentials are revoked")
    with anna.another() as other:
        other.open()
        other.select("guest")
        other.act("Remove")
    anna.row("guest").wait_for(state="detached")
    dialog.get_by_role("button", name="Remove", exact=True).click()
    expect(dialog).to_contain_text("There is no worker guest")


def test_bulk_maintenance_is_in_the_audit_trail_under_the_users_name(anna: Visit) -> None:
    comment = f"new disk {uuid4().hex[:8]} <b>&"
    anna.open("?text=a")
    for name in ("alpha", "beta"):
        anna.select(name)
    anna.button("Start maintenance").click()
    dialog = anna.page.get_by_role("dialog")
    expect(dialog).to_contain_text("2 workers will be given no more tasks")
    dialog.get_by_label("Comment").fill("<b>x</b>" * 1250)
    dialog.get_by_role("button", name="Start maintenance").click()
    expect(dialog).to_contain_text("The comment has 10,000 characters; the maximum is 1,024.")
    dialog.get_by_label("Comment").fill(comment)
    dialog.get_by_role("button", name="Start maintenance").click()
    for name in ("alpha", "beta"):
        anna.wait_state(name, "Maintenance")
        expect(anna.row(name)).to_contain_text(comment)
    anna.act("End maintenance")
    for name in ("alpha", "beta"):
        anna.wait_state(name, "Idle")
    anna.page.get_by_role("tab", name="Audit").click()
    entry = anna.page.get_by_role("row").filter(has_text=comment)
    expect(entry).to_have_count(2)
    expect(entry.first).to_contain_text("anna")


def test_a_job_that_cannot_start_is_explained_and_then_starts(anna: Visit, platform: Platform, shared: Path) -> None:
    anna.open()
    anna.select("alpha")
    anna.act("Start maintenance", "a test")
    anna.wait_state("alpha", "Maintenance")
    held = held_run(platform, shared, "hold")
    anna.page.get_by_role("tab", name="Jobs").click()
    anna.page.get_by_role("row").filter(has_text=held.run_id).get_by_role("button", name="Why?").first.click()
    expect(anna.page.get_by_role("dialog")).to_contain_text("maintenance")
    anna.page.get_by_role("dialog").get_by_role("button", name="Close").click()
    anna.page.get_by_role("tab", name="Workers").click()
    anna.button("alpha").click()
    anna.act("End maintenance")
    held.wait_for("start", [held.jobs()[0].task_id])
    job = held.jobs()[0]
    anna.page.goto(f"/dags/hold/runs/{held.run_id}/tasks/{job.task_id}/plugin/edge-task")
    expect(anna.page.get_by_role("table", name="Timeline")).to_contain_text("alpha")
    assert held.finish() == "success"


def test_a_draining_worker_shows_its_progress(anna: Visit, platform: Platform, shared: Path) -> None:
    anna.open()
    anna.wait_state("alpha", "Idle")
    held = held_run(platform, shared, "hold_one")
    held.wait_for("start", ["a"])
    anna.wait_state("alpha", "Running")
    anna.select("alpha")
    anna.button("Start maintenance").click()
    dialog = anna.page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 running task will go on to the end.")
    dialog.get_by_label("Comment").fill("new disk")
    dialog.get_by_role("button", name="Start maintenance").click()
    anna.wait_state("alpha", "Draining")
    expect(anna.row("alpha")).to_contain_text("draining: 1 task left")
    assert held.finish() == "success"
    anna.wait_state("alpha", "Maintenance")
    expect(anna.row("alpha")).not_to_contain_text("draining")
    anna.act("End maintenance")
    anna.wait_state("alpha", "Idle")


def test_a_job_leads_to_its_task_and_log_whatever_their_names(anna: Visit, platform: Platform, shared: Path) -> None:
    queue, dag, task = "öd / ?#%2F&=+", "öd.d-_", "täsk.-1"
    process = platform.add_worker(WorkerSpec("Odd-1_x.Y", (queue,), env={"TEST_FOLDER": str(shared)}))
    held = held_run(platform, shared, dag)
    held.wait_for("start", [task])
    anna.open()
    anna.wait_state("Odd-1_x.Y", "Running")
    anna.page.get_by_label("Queue").select_option(queue)
    anna.row("alpha").wait_for(state="detached")
    anna.button("Odd-1_x.Y").click()
    anna.page.get_by_role("dialog").get_by_role("link", name="All its jobs").click()
    row = anna.page.get_by_role("row").filter(has_text=held.run_id)
    expect(row).to_contain_text(queue)
    row.get_by_role("link", name=f"{dag}.{task}").click()
    anna.page.wait_for_url(lambda url: f"/dags/{dag}/runs/{held.run_id}/tasks/{task}" in unquote(url))
    expect(anna.page.get_by_text(re.compile(r"^line \d+$")).first).to_be_visible()
    anna.page.get_by_role("link", name="Edge task").click()
    anna.page.get_by_role("link", name="Odd-1_x.Y").click()
    expect(anna.page.get_by_role("dialog", name="Odd-1_x.Y")).to_contain_text("Running")
    assert held.finish() == "success"
    process.end(60)
    anna.page.keyboard.press("Escape")
    anna.remove("Odd-1_x.Y")


def test_a_worker_connects_with_the_printed_commands(anna: Visit, platform: Platform, tmp_path: Path) -> None:
    env = worker_env(home=tmp_path, dags=platform.spec.dags, executor=platform.spec.executor, extra={})
    env["PATH"] = f"{platform.spec.programs}{os.pathsep}{env['PATH']}"
    anna.open("?tab=add")
    anna.page.get_by_text("Command line").click()
    anna.page.get_by_label("Name or pattern").fill("newcomer")
    anna.button("Create a join token").click()
    token = anna.page.get_by_role("region", name="Join token").inner_text()
    enrol = anna.page.get_by_role("region", name="On the host").inner_text()
    run = anna.page.get_by_role("region", name="Then:").inner_text()
    assert token not in enrol + run
    assert token not in anna.page.url
    expect(anna.page.get_by_text("Waiting for the worker to connect …")).to_be_visible()
    subprocess.run(["sh", "-c", enrol], input=token, env=env, text=True, check=True, timeout=60)
    worker = ManagedProcess("newcomer", ["sh", "-c", f"exec {run}"], env, tmp_path / "log", tmp_path)
    worker.start()
    try:
        expect(anna.page.get_by_text("Connected:")).to_be_visible()
        anna.page.get_by_role("link", name="newcomer").click()
        expect(anna.page.get_by_role("dialog", name="newcomer")).to_contain_text("Idle")
    finally:
        worker.end(60)
    anna.page.keyboard.press("Escape")
    anna.remove("newcomer")


def test_everything_can_be_done_with_the_keyboard(anna: Visit) -> None:
    keyboard = anna.page.keyboard
    anna.open()
    anna.wait_state("alpha", "Idle")
    anna.tab_to("alpha")
    keyboard.press("Enter")
    panel = anna.page.get_by_role("dialog", name="alpha", exact=True)
    panel.wait_for()
    anna.tab_to("Start maintenance")
    keyboard.press("Enter")
    dialog = anna.page.get_by_role("dialog", name="Start maintenance")
    expect(dialog.get_by_label("Comment")).to_be_focused()
    keyboard.press("Escape")
    dialog.wait_for(state="detached")
    keyboard.press("Enter")
    expect(dialog.get_by_label("Comment")).to_be_focused()
    keyboard.type("new disk")
    anna.tab_to("Start maintenance")
    keyboard.press("Enter")
    dialog.wait_for(state="detached")
    expect(panel).to_contain_text("It is given no tasks")
    anna.tab_to("End maintenance")
    keyboard.press("Enter")
    anna.page.get_by_role("dialog", name="End maintenance").wait_for()
    anna.tab_to("End maintenance")
    keyboard.press("Enter")
    anna.page.get_by_role("dialog", name="End maintenance").wait_for(state="detached")
    expect(panel).not_to_contain_text("It is given no tasks")
    keyboard.press("Escape")
    panel.wait_for(state="detached")
    expect(anna.button("alpha")).to_be_focused()


def test_the_pages_fit_a_telephone(platform: Platform, browser: Browser) -> None:
    with Visit.of(browser, platform, "anna", PASSWORDS["anna"], width=400) as visit:
        for query in TABS:
            visit.open(query)
            visit.page.get_by_text("Loading …").first.wait_for(state="detached")
            visit.wait_until_it_fits()
        visit.act("Start maintenance", "new disk")
        visit.act("End maintenance")
        visit.page.get_by_role("dialog").get_by_role("button", name="Close").click()
        visit.wait_state("alpha", "Idle")


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
    with Visit.of(browser, platform, "anna", PASSWORDS["anna"], "dark" if scheme == "dark" else "light") as visit:
        for query in TABS:
            visit.open(query)
            visit.page.get_by_text("Loading …").first.wait_for(state="detached")
            assert visit.serious_violations() == []
            if os.environ.get("EDGE_SCREENSHOTS"):
                name = query.removeprefix("?tab=").removeprefix("?").split("=")[0] or "workers"
                visit.page.screenshot(path=IMAGES / f"fleet-{name}-{scheme}.png")
