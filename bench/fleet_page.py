"""The fleet page with a large fleet, in about five minutes: `python -m bench.fleet_page`.

A real Airflow with an edge API, the sessions of raw clients as workers, queued jobs, and a real browser. Each figure is
printed as soon as it is known. docs/fleet-page.md has them.
"""

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from bench.dag32 import tree_cpu_s
from bench.report import median
from bench.wire_this import EdgeApi, clients, insert_jobs
from edge_demo.platform import Platform, PlatformSpec
from edge_testing.programs.packages import find_chromium

WORKERS = 1000
JOBS = 5000
BEAT_S = 10.0
LOADS = 10
CHANGES = 20
VIEWERS = 20
WINDOW_S = 30.0
POLL_S = 2.0
TIMEOUT_MS = 60_000


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="edge-bench-", ignore_cleanup_errors=True) as folder:
        dags = Path(folder, "dags")
        dags.mkdir()
        with Platform(Path(folder), PlatformSpec(dags, workers=()), say) as platform:
            # What is not measured does not disturb.
            for name in ("scheduler", "dag-processor", "triggerer"):
                platform.processes[name].stop()
            api = EdgeApi(platform.edge_api_urls[0], platform.join_token("--uses", str(WORKERS)), platform.database_url)
            with fleet(api), sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=find_chromium())
                say(f"load of this machine in the last minute: {os.getloadavg()[0]:.1f}")
                measure(platform, browser)
                browser.close()


@contextmanager
def fleet(api: EdgeApi) -> Iterator[None]:
    """Connect the workers, queue the jobs, which nobody takes, and send heartbeats meanwhile."""
    connected, end = threading.Event(), threading.Event()

    async def live() -> None:
        async with clients(api, "worker", WORKERS, 8, "other") as workers:
            living = [asyncio.create_task(worker.stay(BEAT_S)) for worker in workers]
            connected.set()
            await asyncio.to_thread(end.wait)
            for task in living:
                task.cancel()
            await asyncio.gather(*living, return_exceptions=True)

    say(f"connecting {WORKERS} workers")
    with ThreadPoolExecutor(1) as pool:
        living = pool.submit(asyncio.run, live())
        while not connected.wait(1):
            if living.done():
                living.result()
        say(f"queueing {JOBS} jobs")
        insert_jobs(api, JOBS)
        try:
            yield
        finally:
            end.set()
            living.result()


def measure(platform: Platform, browser: Browser) -> None:
    """Print all figures."""
    page = browser.new_page(base_url=platform.airflow_url)
    page.set_default_timeout(TIMEOUT_MS)
    show("the first visit, with an empty cache: until the workers are shown", [first_paint(page, "workers")])
    show("from a click in Airflow's navigation bar to the workers", [click(page) for _ in range(LOADS)])
    show("Airflow's own UI: from the address to its navigation bar", [airflow_paint(page) for _ in range(LOADS)])
    for tab in ("workers", "jobs", "queues"):
        show(f"{tab}: from the address to the first row", [first_paint(page, tab) for _ in range(LOADS)])
    first_paint(page, "workers")
    with httpx.Client(base_url=platform.airflow_url, timeout=60, trust_env=False) as http:
        show("a change in the browser, made elsewhere", [change(page, http, number) for number in range(CHANGES)])
    page.close()
    server = platform.processes["api-server"].pid
    idle = cpu_share(server, lambda: time.sleep(WINDOW_S))
    say(f"api-server without a viewer: {idle:.1%} of a core")
    one = cpu_share(server, lambda: watch(platform, browser))
    say(f"api-server with one browser: {one:.1%} of a core, {one - idle:.1%} for the viewer")
    many = cpu_share(server, lambda: poll(platform, VIEWERS))
    say(f"api-server with {VIEWERS} viewers: {many:.1%} of a core, {(many - idle) / VIEWERS:.1%} for each")


def first_paint(page: Page, tab: str) -> float:
    """Return the seconds from opening a tab of the page until its table has a row."""
    begin = time.perf_counter()
    page.goto(f"/plugin/edge?tab={tab}", wait_until="commit")
    page.locator("tbody tr").first.wait_for()
    return time.perf_counter() - begin


def airflow_paint(page: Page) -> float:
    """Return the seconds until Airflow's UI shows something of its own, without the fleet page."""
    begin = time.perf_counter()
    page.goto("/pools", wait_until="commit")
    page.get_by_role("link", name="Edge fleet").wait_for()
    return time.perf_counter() - begin


def click(page: Page) -> float:
    """Return the seconds from a click on "Edge fleet" until the workers are shown."""
    airflow_paint(page)
    page.wait_for_load_state("networkidle")
    begin = time.perf_counter()
    page.get_by_role("link", name="Edge fleet").click()
    page.get_by_role("table", name="Workers").wait_for()
    return time.perf_counter() - begin


def change(page: Page, http: httpx.Client, number: int) -> float:
    """Change a worker's state and return the seconds until the open page shows it."""
    name = f"worker-{number}"
    row = page.get_by_role("row").filter(has=page.get_by_role("button", name=name, exact=True))
    page.get_by_label("Find").fill(name)
    row.wait_for()
    begin = time.perf_counter()
    answer = http.put(
        f"/edge_ui/api/workers/{name}/maintenance", json={"comment": "new disk"}, headers={"X-Edge-UI": "1"}
    )
    answer.raise_for_status()
    row.get_by_text("new disk").wait_for()
    return time.perf_counter() - begin


def cpu_share(server: int, run: Callable[[], None]) -> float:
    """Return which share of a core the api-server uses meanwhile."""
    before, begin = tree_cpu_s(server), time.perf_counter()
    run()
    return (tree_cpu_s(server) - before) / (time.perf_counter() - begin)


def watch(platform: Platform, browser: Browser) -> None:
    """Look at the workers in a browser."""
    page = browser.new_page(base_url=platform.airflow_url)
    first_paint(page, "workers")
    page.wait_for_timeout(WINDOW_S * 1000)
    page.close()


def poll(platform: Platform, viewers: int) -> None:
    """Ask for what as many open pages ask for."""

    async def view(http: httpx.AsyncClient) -> None:
        since = None
        end = time.monotonic() + WINDOW_S
        while time.monotonic() < end:
            news = await http.get("fleet", params={"since": since} if since else {})
            since = news.raise_for_status().json()["since"]
            await asyncio.sleep(POLL_S)

    async def all_of_them() -> None:
        async with httpx.AsyncClient(
            base_url=f"{platform.airflow_url}/edge_ui/api/", timeout=60, trust_env=False
        ) as http:
            await asyncio.gather(*(view(http) for _ in range(viewers)))

    # This thread has the event loop of Playwright.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, all_of_them()).result()


def show(what: str, seconds: list[float]) -> None:
    """Print a figure."""
    worst = f", {max(seconds):.2f} s at most" if len(seconds) > 1 else ""
    say(f"{what}: {median(seconds):.2f} s{worst} ({len(seconds)} times)")


def say(text: str) -> None:
    """Print progress and figures."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
