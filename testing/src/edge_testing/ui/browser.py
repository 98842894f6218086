"""A visit of a user to the fleet page in a browser; it fails if the browser's console had an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, Self

import httpx
from playwright.sync_api import Browser, Locator, Page, expect

from edge_demo.platform import Platform
from edge_testing.ui.describe import FOLDER

TIMEOUT_MS: Final = 60_000
"""Of a busy machine; a test waits only as long as it must."""
expect.set_options(timeout=TIMEOUT_MS)
_AXE: Final = FOLDER / "node_modules" / "axe-core" / "axe.min.js"


class Visit:
    """One browser context with a login."""

    def __init__(self, page: Page, platform: Platform) -> None:
        self.page = page
        self.platform = platform
        self.allowed: list[str] = []
        """Parts of messages that a test expects in the console."""

    @classmethod
    @contextmanager
    def of(
        cls,
        browser: Browser,
        platform: Platform,
        name: str,
        password: str,
        scheme: Literal["light", "dark"] = "light",
        width: int = 1280,
    ) -> Iterator[Self]:
        """Log a user in, and check at the end that the console had no error."""
        context = browser.new_context(
            base_url=platform.airflow_url, color_scheme=scheme, viewport={"width": width, "height": 800}
        )
        context.set_default_timeout(TIMEOUT_MS)
        login = httpx.post(
            f"{platform.airflow_url}/auth/token", json={"username": name, "password": password}, trust_env=False
        )
        token = login.raise_for_status().json()["access_token"]
        context.add_cookies([{"name": "_token", "value": token, "url": platform.airflow_url}])
        page = context.new_page()
        visit = cls(page, platform)
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        try:
            yield visit
            unexpected = [error for error in errors if not any(part in error for part in visit.allowed)]
            assert unexpected == []
        finally:
            context.close()

    def open(self, query: str = "") -> None:
        """Open the fleet page and wait until it shows something."""
        self.page.goto(f"/plugin/edge{query}")
        self.page.locator("h1", has_text="Edge fleet").wait_for()

    def row(self, worker: str) -> Locator:
        """Return the row of a worker."""
        return self.page.get_by_role("row").filter(has=self.page.get_by_role("button", name=worker, exact=True))

    def wait_state(self, worker: str, label: str) -> None:
        """Wait until a worker is shown in a state."""
        self.row(worker).get_by_text(label, exact=True).wait_for()

    def serious_violations(self) -> list[str]:
        """Return what axe finds that makes the page hard to use for some people; the host shows the plugin's icon."""
        self.page.add_script_tag(path=_AXE)
        found: Any = self.page.evaluate(
            "() => axe.run({exclude: ['img[src*=edge_ui]']}, {resultTypes: ['violations']})"
        )
        return [
            f"{each['id']}: {[node['html'][:300] for node in each['nodes'][:3]]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]
