"""The relay: an HTTP server on loopback that sends the calls of tasks on to the edge API.

Each lease has a URL of its own with a secret in it, which is given to the task's supervisor and to nobody else: another
user of this host can't call Airflow through the relay. The token of the task is Airflow's own and passes unchanged; the
worker's credential stays in the agent.

While the edge API or Airflow is away, a call is held and tried again: a supervisor that is told of an outage gives up
after a few seconds, and its task with it. How long, depends on the job's outage tolerance:

- With one, a call is held until it is answered or the task must end, and heartbeats are answered at once, from what the
  last one that was forwarded has brought (`edge_worker.relay.heartbeats`).
- Without one, every call is held for up to 25 s.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import aiohttp
from aiohttp import web

from edge_protocol.execution import METHODS
from edge_worker.backoff import Backoff
from edge_worker.relay.heartbeats import Heartbeats
from edge_worker.relay.task import RelayedTask, is_heartbeat
from edge_worker.relay.upstream import Answer, AwayError, Call, Upstream, down_headers, pass_pieces, read_short, refusal

HOST: Final = "127.0.0.1"
BODY_MAX_BYTES: Final = 1 << 30
"""The edge API has the bound that counts; this one keeps a broken task from filling the memory."""
_RETRY_LONGEST_S = 2.0
_BRIEF_TIMEOUT_S = 30.0
_BEYOND_TOLERANCE_S = 60.0

log = logging.getLogger(__name__)


def supervisor_timeout_s(outage_tolerance_s: int) -> float:
    """Return how long supervisors wait for an answer: longer than a call may be held, so that they are told.

    This is `[workers] execution_api_timeout` of Airflow, by default 5 s.
    """
    return outage_tolerance_s + _BEYOND_TOLERANCE_S if outage_tolerance_s else _BRIEF_TIMEOUT_S


class Relay:
    """The server, and the URLs of the leases whose tasks run."""

    def __init__(self, client: aiohttp.ClientSession, api_url: str) -> None:
        """Set up; `client` sends the worker's credential with every call."""
        self._upstream = Upstream(client, api_url)
        self._tasks: dict[str, _Entry] = {}
        self._port: int | None = None
        self._group: asyncio.TaskGroup | None = None
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
            async with asyncio.TaskGroup() as self._group:
                self._started.set()
                await asyncio.Event().wait()
        finally:
            for entry in self._tasks.values():
                entry.task.end()
            await runner.cleanup()

    async def open(self, lease: UUID, left_s: Callable[[], float] | None = None) -> str:
        """Return the URL of the Execution API for a lease's task.

        `left_s`: for a task with an outage tolerance, returns the seconds until it must end.
        """
        await self._started.wait()
        secret = secrets.token_urlsafe(32)
        task = RelayedTask(lease, left_s)
        heartbeats, forwarding = Heartbeats(task, self._upstream), None
        if task.tolerant and self._group is not None:
            forwarding = self._group.create_task(heartbeats.forward(), name=f"heartbeats of lease {lease}")
        self._tasks[secret] = _Entry(task, heartbeats, forwarding)
        return f"http://{HOST}:{self._port}/{secret}/"

    def line_is_back(self) -> None:
        """Try held calls again now: the edge API serves this worker again."""
        for entry in self._tasks.values():
            entry.task.wake()

    def hold_no_more(self, lease: UUID) -> None:
        """Answer a lease's held calls, since its task must end: its supervisor hears no signal before that."""
        for entry in self._tasks.values():
            if entry.task.lease == lease:
                entry.task.end()

    def close(self, lease: UUID) -> None:
        """Let a lease's URL lead nowhere."""
        for secret, entry in list(self._tasks.items()):
            if entry.task.lease == lease:
                del self._tasks[secret]
                entry.task.end()
                if entry.forwarding is not None:
                    entry.forwarding.cancel()

    async def _call(self, request: web.Request) -> web.StreamResponse:
        """Answer a call: from here, or from the edge API; while nobody answers there, hold it."""
        entry = self._tasks.get(request.match_info["secret"])
        if entry is None:
            return refusal(404, "unknown_task", "No task has this URL.").response()
        task, call = entry.task, await Call.read(request)
        if task.tolerant and not task.must_end and is_heartbeat(call):
            return entry.heartbeats.answer(call).response()
        left_s = task.hold_until(asyncio.get_running_loop().time())
        backoff = Backoff(longest_s=_RETRY_LONGEST_S)
        held = False
        while True:
            try:
                async with task.attempt(held=held):
                    return await self._send_on(request, task, call)
            except AwayError as away:
                nobody = f"Nobody answers: {away}"
            except TimeoutError:
                nobody = "Nobody answers in time."
            if task.must_end or left_s() <= 0:
                return _given_up(task, nobody).response()
            if not held:
                log.warning("a call of lease %s is held: %s", task.lease, nobody)
            held = True
            await task.pause(backoff.next_delay(left_s()))

    async def _send_on(self, request: web.Request, task: RelayedTask, call: Call) -> web.StreamResponse:
        """Send a call to the edge API and pass its answer down.

        Raises:
            AwayError: it went nowhere, as far as can be known.

        """
        newest = task.tokens.note(call.token)
        async with self._upstream.send(task.lease, call, newest if task.tolerant else call.token) as head:
            answer = await read_short(head, bodiless=call.method == "HEAD")
            headers = dict(answer.headers) if answer is not None else down_headers(head)
            if task.tolerant:
                headers = task.tokens.refresh(call.token, headers)
            if answer is None:
                return await pass_pieces(request, head, headers)
            return Answer(answer.status, answer.body, headers).response()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A task and its heartbeats."""

    task: RelayedTask
    heartbeats: Heartbeats
    forwarding: asyncio.Task[None] | None


def _given_up(task: RelayedTask, nobody: str) -> Answer:
    """Return the answer to a call that is held no more."""
    if not task.tolerant:
        return refusal(503, "edge_api_away", nobody)
    return refusal(410, "fenced", f"The task must end. {nobody}")
