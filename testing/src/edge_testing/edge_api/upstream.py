"""A stand-in for Airflow's api-server behind the edge API: it remembers every call and answers as it is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

BODY_MAX_BYTES = 64 << 20


@dataclass
class Answer:
    """What the stand-in answers."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


@dataclass(frozen=True)
class Call:
    """A call as it arrived."""

    method: str
    path: str
    """Undecoded, with the query."""
    headers: dict[str, str]
    body: bytes


class Upstream:
    """The stand-in; `url` is that of its Execution API."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self.answer = Answer()

    async def _handle(self, request: web.Request) -> web.Response:
        self.calls.append(Call(request.method, request.raw_path, dict(request.headers), await request.read()))
        return web.Response(status=self.answer.status, body=self.answer.body, headers=self.answer.headers)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Upstream"]:
        """Serve on loopback while the block runs."""
        app = web.Application(client_max_size=BODY_MAX_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/execution/"
            yield self
        finally:
            await runner.cleanup()
