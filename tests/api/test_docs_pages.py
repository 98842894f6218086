"""The documentation pages: open without a credential, complete without any other host."""

import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from edge_protocol.admin import DOCS_PATH
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.v1 import SECRET

V1_DOCS_PATH = "/edge_worker/v1/docs"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def check_page(http: aiohttp.ClientSession, url: str) -> None:
    """Check a page and all that it loads."""
    async with http.get(url) as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        policy = answer.headers["Content-Security-Policy"]
        page = await answer.text()
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http:" not in policy + page
    assert "https:" not in policy + page
    # The policy forbids scripts and styles inside the page.
    assert not re.search(r"<script>|<style|style=|onload=", page)
    loaded = re.findall(r'(?:src|href)="(docs/[^"]+)"', page)
    assert len(loaded) == 3
    for path in [*loaded, "openapi.json"]:
        async with http.get(f"{url.rpartition('/')[0]}/{path}") as answer:
            assert answer.status == 200, path
            assert answer.content_type in ("text/javascript", "text/css", "application/json")
            assert await answer.read()


async def test_the_admin_api(shared: ApiProcess, http: aiohttp.ClientSession) -> None:
    await check_page(http, shared.url + DOCS_PATH)
    for path in ("/", "/other.js", "/..%2fworkers"):
        async with http.get(shared.url + DOCS_PATH + path) as answer:
            assert answer.status == 401
    async with http.post(shared.url + DOCS_PATH) as answer:
        assert answer.status == 405


async def test_v1_where_it_is_on(start_api: StartApi, shared: ApiProcess, http: aiohttp.ClientSession) -> None:
    api = await start_api(v1_jwt_secret=SECRET)
    await check_page(http, api.url + V1_DOCS_PATH)
    async with http.get(shared.url + V1_DOCS_PATH) as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "v1_switched_off")
