"""The worker's side of a long-poll session, call by call."""

import asyncio
import io
import json
from typing import Any

import aiohttp

from edge_protocol import rest
from edge_testing.edge_api.credentials import bearer
from edge_testing.edge_api.process import DEADLINE_S
from edge_testing.edge_api.session import frame, hello


class Caller:
    """The worker's side of a long-poll session."""

    def __init__(self, url: str, credential: str) -> None:
        self.url = url
        self._headers = {**bearer(credential), "Content-Type": "application/json"}
        self._leases: set[str] = set()
        self.session_id: str | None = None
        self.seen: list[dict[str, Any]] = []

    async def call(self, *frames: dict[str, Any], wait_s: float = 0, url: str | None = None) -> list[dict[str, Any]]:
        """Send frames, and return those of the answer."""
        body = {"session_id": self.session_id, "frames": [json.dumps(each) for each in frames], "wait_s": wait_s}
        timeout = aiohttp.ClientTimeout(DEADLINE_S)
        async with (
            aiohttp.ClientSession(headers=self._headers, timeout=timeout) as http,
            # A file, since aiohttp warns about large bodies in bytes.
            http.post(f"{url or self.url}{rest.SYNC_PATH}", data=io.BytesIO(json.dumps(body).encode())) as answer,
        ):
            assert answer.status == 200, await answer.text()
            found = [json.loads(text) for text in (await answer.json())["frames"]]
        self.seen += [each for each in found if not self._is_repeat(each)]
        return found

    def _is_repeat(self, found: dict[str, Any]) -> bool:
        """Return whether a frame is a job that was already offered."""
        if found["type"] != "job":
            return False
        repeat = found["lease_id"] in self._leases
        self._leases.add(found["lease_id"])
        return repeat

    async def begin(self, name: str = "w1", **fields: Any) -> None:
        """Begin the session with a hello."""
        found = await self.call(hello(name, **fields))
        assert [each["type"] for each in found[:2]] == ["welcome", "desired"]
        self.session_id = found[0]["session_id"]

    async def expect(
        self, type_: str, *frames: dict[str, Any], url: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Poll until a matching frame arrives, and return each frame once; earlier frames count."""
        wanted, send = frame(type_, **fields), frames
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for each in self.seen:
                    if wanted.items() <= each.items():
                        self.seen.remove(each)
                        return each
                await self.call(*send, wait_s=2, url=url)
                send = ()
