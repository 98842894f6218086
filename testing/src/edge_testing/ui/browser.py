"""A visit of a user to the fleet page in a browser; it fails if the browser's console had an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, Self

import httpx
from playwright.sync_api import Browser, Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from edge_demo.platform import Platform
from edge_testing.ui.describe import FOLDER

TIMEOUT_MS: Final = 60_000
"""Of a busy machine; a test waits only as long as it must."""
expect.set_options(timeout=TIMEOUT_MS)
_AXE: Final = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
_TAB_MOST: Final = 100
_OUTSIDE: Final = """() => {
  const scrolls = (node) =>
    node && (/auto|scroll/.test(getComputedStyle(node).overflowX) || scrolls(node.parentElement));
  return [...document.querySelectorAll("h1, h3, p, button, input, select, textarea, [role=tab], table")]
    .filter((node) => node.getClientRects().length && !scrolls(node.parentElement))
    .filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
    .map((node) => node.outerHTML.slice(0, 200));
}"""


class Visit:
    """One browser context with a login."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
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
        visit = cls(page, platform.airflow_url)
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
        self.page.goto(f"{self.url}/plugin/edge{query}")
        self.page.locator("h1", has_text="Edge fleet").wait_for()

    def row(self, worker: str) -> Locator:
        """Return the row of a worker."""
        return self.page.get_by_role("row").filter(has=self.page.get_by_role("button", name=worker, exact=True))

    def button(self, name: str) -> Locator:
        """Return a button of the page."""
        return self.page.get_by_role("button", name=name, exact=True)

    def select(self, worker: str) -> None:
        """Select a worker of the list."""
        self.page.get_by_label(f"Select {worker}", exact=True).check()

    def act(self, action: str, comment: str | None = None) -> None:
        """Do something with the selected or open worker, up to the end of the dialog."""
        self.button(action).click()
        dialog = self.page.get_by_role("dialog", name=action).or_(self.page.get_by_role("alertdialog", name=action))
        if comment is not None:
            dialog.get_by_label("Comment").fill(comment)
        dialog.get_by_role("button", name=action, exact=True).click()
        dialog.wait_for(state="detached")

    def remove(self, worker: str) -> None:
        """Remove a worker that is gone."""
        self.wait_state(worker, "Offline")
        self.select(worker)
        self.act("Remove")
        self.row(worker).wait_for(state="detached")

    @contextmanager
    def another(self, url: str | None = None) -> Iterator[Self]:
        """Open another tab of the same browser; `url` is that of another api-server."""
        page = self.page.context.new_page()
        yield type(self)(page, url or self.url)
        page.close()

    def tab_to(self, name: str) -> None:
        """Press Tab until something with this text has the focus."""
        for _ in range(_TAB_MOST):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("() => document.activeElement.innerText.trim()") == name:
                return
        raise AssertionError(name)

    def wait_until_it_fits(self) -> None:
        """Wait until nothing is outside of the window, apart from what scrolls in a box of its own; panels slide in."""
        try:
            self.page.wait_for_function(f"({_OUTSIDE})().length === 0")
        except PlaywrightTimeoutError as error:
            raise AssertionError(self.page.evaluate(_OUTSIDE)) from error

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
