"""Heartbeats of one task, forwarded in the background: a supervisor never waits for the line with them."""

import asyncio
import logging
from typing import Final

from edge_worker.relay.task import RelayedTask
from edge_worker.relay.upstream import Answer, AwayError, Call, Upstream, down_headers, read_short

PACE_S: Final = 10.0
"""Seconds between two heartbeats that are forwarded. Airflow gives a task up after 300 s without any."""
_SERVER_ERROR: Final = 500

log = logging.getLogger(__name__)


class Heartbeats:
    """Answers the heartbeats of one task, and forwards the last one of each interval."""

    def __init__(self, task: RelayedTask, upstream: Upstream) -> None:
        self._task = task
        self._upstream = upstream
        self._latest: Call | None = None
        self._due = asyncio.Event()

    def answer(self, call: Call) -> Answer:
        """Return the answer to a heartbeat: the verdict on the last one that reached Airflow."""
        self._task.tokens.note(call.token)
        self._latest = call
        self._due.set()
        found = self._task.verdict.take()
        return Answer(found.status, found.body, self._task.tokens.refresh(call.token, dict(found.headers)))

    async def forward(self) -> None:
        """Forward heartbeats, one at a time, until the task must end."""
        loop = asyncio.get_running_loop()
        while not self._task.must_end:
            await self._due.wait()
            if self._latest is None:
                continue
            self._due.clear()
            begun = loop.time()
            if await self._send(self._latest):
                await asyncio.sleep(max(0.0, begun + PACE_S - loop.time()))
            else:
                self._due.set()
                # At once, if the worker is connected again.
                await self._task.pause(begun + PACE_S - loop.time())

    async def _send(self, call: Call) -> bool:
        tokens = self._task.tokens
        try:
            async with self._upstream.send(self._task.lease, call, tokens.note(call.token)) as head:
                answer = await read_short(head) or Answer(head.status, await head.read(), down_headers(head))
        except AwayError as away:
            log.debug("a heartbeat of lease %s was not forwarded: %s", self._task.lease, away)
            return False
        if answer.status >= _SERVER_ERROR:
            return False
        tokens.refresh(call.token, dict(answer.headers))
        self._task.verdict.note(answer)
        return True
