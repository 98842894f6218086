"""The relay: an HTTP server on loopback that sends the calls of tasks on to the edge API.

Each lease has a URL of its own with a secret in it, which is given to the task's supervisor and to nobody else: another
user of this host can't call Airflow through the relay. The token of the task is Airflow's own and passes unchanged; the
worker's credential stays in the agent.

While the edge API or Airflow is away, a call is held and tried again: a supervisor that is told of an outage gives up
after a few seconds, and its task with it.
"""

import asyncio
import json
import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final
from uuid import UUID

import aiohttp
from aiohttp import web
from yarl import URL

from edge_protocol.execution import DOWN_HEADERS, EXECUTION_PATH, METHODS, TASK_HEADER, UP_HEADERS
from edge_worker.backoff import Backoff
from edge_worker.connection.http import CONNECT_TIMEOUT_S, PROBLEM_TYPE, read_problem, reason

HOST: Final = "127.0.0.1"
BODY_MAX_BYTES: Final = 1 << 30
"""The edge API has the bound that counts; this one keeps a broken task from filling the memory."""
SMALL_BYTES: Final = 64 << 10
"""An answer up to this size is passed down in one piece; if it breaks off, the call is tried again."""
LARGE_BYTES: Final = 1 << 20
"""aiohttp sends a longer body piece by piece, if it comes as a file."""
HOLD_S: Final = 25.0
"""A call is held for so long while nobody answers; less than `SUPERVISOR_TIMEOUT_S`, so that the supervisor is told."""
SUPERVISOR_TIMEOUT_S: Final = 30.0
"""How long supervisors wait for an answer (`[workers] execution_api_timeout` of Airflow, by default 5 s)."""
AWAY: Final = frozenset({502, 503, 504})
"""Statuses by which the edge API or a proxy says that the call went nowhere."""

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
        self._tasks: dict[str, _Task] = {}
        self._port: int | None = None
        self._started = asyncio.Event()

    async def serve(self) -> None:
        """Serve until cancelled."""
        app = web.Application(client_max_size=BODY_MAX_BYTES)
        for method in METHODS:
            app.router.add_route(method, "/{secret}/{path:.*}", self._call)
        # A supervisor that has given a call up repeats it: the one that is held must end.
        runner = web.AppRunner(app, access_log=None, handle_signals=False, handler_cancellation=True)
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
        self._tasks[secret] = _Task(lease)
        return f"http://{HOST}:{self._port}/{secret}/"

    def hold_no_more(self, lease: UUID) -> None:
        """Answer a lease's held calls, since its task must end: its supervisor hears no signal before that."""
        for task in self._tasks.values():
            if task.lease == lease:
                task.must_end.set()

    def close(self, lease: UUID) -> None:
        """Let a lease's URL lead nowhere."""
        self._tasks = {secret: task for secret, task in self._tasks.items() if task.lease != lease}

    async def _call(self, request: web.Request) -> web.StreamResponse:
        """Send a call on; while nobody answers, hold it."""
        task = self._tasks.get(request.match_info["secret"])
        if task is None:
            return _refusal(404, "unknown_task", "No task has this URL.")
        body = await request.read()
        backoff = Backoff(longest_s=2)
        ends = asyncio.get_running_loop().time() + HOLD_S
        held = False
        while True:
            try:
                return await self._send_on(request, task.lease, body)
            except _AwayError as away:
                if not held:
                    log.warning("a call of lease %s is held: %s", task.lease, away)
                held = True
                left_s = ends - asyncio.get_running_loop().time()
                if left_s <= 0 or task.must_end.is_set():
                    return _refusal(503, "edge_api_away", f"Nobody answers: {away}")
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.next_delay(left_s)):
                    await task.must_end.wait()

    async def _send_on(self, request: web.Request, lease: UUID, body: bytes) -> web.StreamResponse:
        """Send a call to the edge API and pass its answer down.

        Raises:
            _AwayError: it went nowhere, as far as can be known.

        """
        # As it came: nothing may be decoded or encoded again on the way.
        path = request.raw_path.partition("/")[2].partition("/")[2].lstrip("/")
        url = URL(f"{self._api_url}{EXECUTION_PATH}/{lease}/{path}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name.lower() in _UP}
        headers[TASK_HEADER] = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            async with self._client.request(
                request.method,
                url,
                data=BytesIO(body) if len(body) > LARGE_BYTES else body or None,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=SUPERVISOR_TIMEOUT_S),
            ) as answer:
                return await _pass_down(request, answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _AwayError(reason(error)) from error


@dataclass(frozen=True, slots=True)
class _Task:
    """A running task, which has a URL."""

    lease: UUID
    must_end: asyncio.Event = field(default_factory=asyncio.Event)


class _AwayError(Exception):
    """Nobody answers a call."""


async def _pass_down(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    if answer.content_type == PROBLEM_TYPE:
        found = await read_problem(answer)
        if found is None or answer.status in AWAY:
            raise _AwayError("its answer broke off" if found is None else found.detail)
        return _refusal(answer.status, found.code, found.detail)
    if answer.status in AWAY:
        raise _AwayError(f"HTTP status {answer.status}")
    headers = {name: value for name, value in answer.headers.items() if name.lower() in _DOWN}
    if request.method == "HEAD":
        return web.Response(status=answer.status, headers=headers)
    if answer.content_length is not None and answer.content_length <= SMALL_BYTES:
        return web.Response(body=await answer.read(), status=answer.status, headers=headers)
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    try:
        async for piece in answer.content.iter_any():
            await response.write(piece)
    except (aiohttp.ClientError, TimeoutError) as error:
        log.warning("a long answer broke off: %s", reason(error))
        # Half of it is on its way: only the end of the connection says that it is not the whole.
        if request.transport is not None:
            request.transport.abort()
    else:
        await response.write_eof()
    return response


def _refusal(status: int, code: str, detail: str) -> web.Response:
    """Return an error as Airflow's Task SDK reads it.

    It takes the reason only from a body with exactly this content type (`ServerResponseError` in `airflow.sdk.api`).
    """
    body = json.dumps({"detail": {"reason": code, "message": detail}}).encode()
    return web.Response(body=body, status=status, headers={"Content-Type": "application/json"})
