"""The relay: an HTTP server on loopback that sends the calls of tasks on to the edge API.

Each lease has a URL of its own with a secret in it, which is given to the task's supervisor and to nobody else: another
user of this host can't call Airflow through the relay. The token of the task is Airflow's own and passes unchanged; the
worker's credential stays in the agent.
"""

import asyncio
import json
import logging
import secrets
from io import BytesIO
from typing import Final
from uuid import UUID

import aiohttp
from aiohttp import web
from yarl import URL

from edge_protocol.execution import DOWN_HEADERS, EXECUTION_PATH, METHODS, TASK_HEADER, UP_HEADERS
from edge_worker.connection.http import PROBLEM_TYPE, read_problem, reason

HOST: Final = "127.0.0.1"
BODY_MAX_BYTES: Final = 1 << 30
"""The edge API has the bound that counts; this one keeps a broken task from filling the memory."""
LARGE_BYTES: Final = 1 << 20
"""aiohttp sends a longer body piece by piece, if it comes as a file."""
ANSWER_TIMEOUT_S: Final = 90.0
"""Longer than the edge API waits for Airflow, so that its answer arrives."""

_UP: Final = UP_HEADERS - {"accept-encoding"}
_DOWN: Final = DOWN_HEADERS - {"content-encoding"}
"""Compression is for the line: the client offers it, and unpacks answers."""

log = logging.getLogger(__name__)


class Relay:
    """The server, and the URLs of the leases whose tasks run."""

    def __init__(self, client: aiohttp.ClientSession, api_url: str) -> None:
        """Set up; `client` sends the worker's credential with every call."""
        self._client = client
        self._api_url = api_url
        self._leases: dict[str, UUID] = {}
        self._port: int | None = None
        self._started = asyncio.Event()

    async def serve(self) -> None:
        """Serve until cancelled."""
        app = web.Application(client_max_size=BODY_MAX_BYTES)
        for method in METHODS:
            app.router.add_route(method, "/{secret}/{path:.*}", self._call)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, 0)
            await site.start()
            self._port = runner.addresses[0][1]
            self._started.set()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def open(self, lease: UUID) -> str:
        """Return the URL of the Execution API for a lease's task."""
        await self._started.wait()
        secret = secrets.token_urlsafe(32)
        self._leases[secret] = lease
        return f"http://{HOST}:{self._port}/{secret}/"

    def close(self, lease: UUID) -> None:
        """Let a lease's URL lead nowhere."""
        self._leases = {secret: held for secret, held in self._leases.items() if held != lease}

    async def _call(self, request: web.Request) -> web.StreamResponse:
        lease = self._leases.get(request.match_info["secret"])
        if lease is None:
            return _refusal(404, "unknown_task", "No task has this URL.")
        # As it came: nothing may be decoded or encoded again on the way.
        path = request.raw_path.partition("/")[2].partition("/")[2].lstrip("/")
        url = URL(f"{self._api_url}{EXECUTION_PATH}/{lease}/{path}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name.lower() in _UP}
        headers[TASK_HEADER] = request.headers.get("Authorization", "").removeprefix("Bearer ")
        body = await request.read()
        try:
            async with self._client.request(
                request.method,
                url,
                data=BytesIO(body) if len(body) > LARGE_BYTES else body or None,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=15, sock_read=ANSWER_TIMEOUT_S),
            ) as answer:
                return await self._answer(request, answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("a call of lease %s found no edge API: %s", lease, reason(error))
            return _refusal(503, "edge_api_away", "The edge API does not answer.")

    @staticmethod
    async def _answer(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        if answer.content_type == PROBLEM_TYPE:
            found = await read_problem(answer)
            if found is None:
                return _refusal(503, "edge_api_away", "The edge API's answer broke off.")
            return _refusal(answer.status, found.code, found.detail)
        headers = {name: value for name, value in answer.headers.items() if name.lower() in _DOWN}
        if request.method == "HEAD":
            return web.Response(status=answer.status, headers=headers)
        response = web.StreamResponse(status=answer.status, headers=headers)
        if "Content-Encoding" not in answer.headers:
            response.content_length = answer.content_length
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


def _refusal(status: int, code: str, detail: str) -> web.Response:
    """Return an error as Airflow's Task SDK reads it.

    It takes the reason only from a body with exactly this content type (`ServerResponseError` in `airflow.sdk.api`).
    """
    body = json.dumps({"detail": {"reason": code, "message": detail}}).encode()
    return web.Response(body=body, status=status, headers={"Content-Type": "application/json"})
