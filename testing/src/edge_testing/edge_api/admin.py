"""A client of the admin API for tests."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from edge_protocol.admin import ADMIN_PATH
from edge_testing.edge_api.credentials import bearer

MINE, ELSEWHERE, OTHER_TEAM = "plant-1", "shop-1", "plant-2"
"""Names of a worker inside the scope BOUNDS, one with a name outside of it, and one with a team outside of it."""
BOUNDS: dict[str, Any] = {"worker_pattern": "plant-*", "team": "red", "queues": ["a", "b"]}


class AdminClient:
    """Calls the admin API of one replica."""

    def __init__(self, http: aiohttp.ClientSession, url: str, credential: str) -> None:
        self._http = http
        self.url = f"{url}{ADMIN_PATH}"
        self.headers = bearer(credential)

    async def call(self, method: str, path: str, expect: int = 200, **more: Any) -> Any:
        """Make a call, check its status, and return its JSON."""
        async with self._http.request(method, self.url + path, headers=self.headers, **more) as answer:
            text = await answer.text()
            assert answer.status == expect, f"{method} {path}: {answer.status} {text}"
            if answer.status >= 400:
                assert answer.content_type == "application/problem+json"
                found = json.loads(text)
                assert found["detail"].strip()
                return found
            return json.loads(text) if text else None

    async def get(self, path: str, expect: int = 200, **params: Any) -> Any:
        """Make a GET and return its JSON; `params` are the query."""
        return await self.call("GET", path, expect, params=params)

    @asynccontextmanager
    async def changes(self, last_event_id: str | None = None) -> AsyncIterator["Changes"]:
        """Open the stream of changes, or resume it after an event."""
        headers = self.headers | ({} if last_event_id is None else {"Last-Event-ID": last_event_id})
        timeout = aiohttp.ClientTimeout(total=None, sock_read=30)
        async with self._http.get(f"{self.url}/changes", headers=headers, timeout=timeout) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.content_type == "text/event-stream"
            yield Changes(answer)


class Changes:
    """Reads server-sent events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.last_id: str | None = None

    async def next(self) -> tuple[str, Any]:
        """Return the next event and its data; raises EOFError at the end of the stream."""
        fields: dict[str, str] = {}
        while True:
            line = (await self._answer.content.readline()).decode()
            if not line:
                raise EOFError
            line = line.rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                self.last_id = fields.get("id", self.last_id)
                return fields["event"], json.loads(fields["data"])
            else:
                fields = {}

    async def until(self, event: str, **expected: Any) -> Any:
        """Skip to an event whose data has these fields, and return its data."""
        while True:
            kind, data = await self.next()
            if kind == event and expected.items() <= data.items():
                return data


@asynccontextmanager
async def admin_client(url: str, credential: str) -> AsyncIterator[AdminClient]:
    """Open a client of one replica under a credential."""
    async with aiohttp.ClientSession() as http:
        yield AdminClient(http, url, credential)
