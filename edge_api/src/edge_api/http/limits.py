"""Plain ASGI middleware: a bound on request bodies, and a metric of how long calls take."""

import time
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_api.held_bytes import HeldBytes
from edge_api.http.problems import problem
from edge_api.metrics import Metrics
from edge_protocol.execution import EXECUTION_PATH
from edge_protocol.rest import SYNC_PATH

BODY_MAX_BYTES: Final = 4 * 1024 * 1024
"""Bytes of a request body: a long-poll call with some full log frames is the largest of this API's own."""

SMALL_BYTES: Final = 64 * 1024
"""A body of this size is always taken: heartbeats must not wait for room."""


class BodyLimit:
    """Answers 413 to a body that is too long, and 503 to a large one while too many bytes are held."""

    def __init__(self, app: ASGIApp, held: HeldBytes, forwarded_max: int) -> None:
        """Set up; `forwarded_max` bounds the bodies that are forwarded to Airflow."""
        self._app = app
        self._held = held
        self._forwarded_max = forwarded_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._forwarded_max if scope["path"].startswith(f"{EXECUTION_PATH}/") else BODY_MAX_BYTES
        length = declared_length(scope)
        if length > most:
            await _too_large(most, scope, receive, send)
        elif length > SMALL_BYTES and not self._held.fits(length):
            await _busy(scope, receive, send)
        else:
            await self._bounded(most, scope, receive, send)

    async def _bounded(self, most: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a body whose length may not be declared."""
        taken = 0

        async def counting() -> Message:
            nonlocal taken
            message = await receive()
            size = len(message.get("body", b""))
            taken += size
            self._held.add(size)
            # The call ends as if the client had gone; whatever it answers is replaced below.
            return message if taken <= most else {"type": "http.disconnect"}

        async def replacing(message: Message) -> None:
            if taken <= most:
                await send(message)

        try:
            await self._app(scope, counting, replacing)
        except ClientDisconnect:
            if taken <= most:
                raise
        finally:
            # What was parsed of it lives as long as the call.
            self._held.remove(taken)
        if taken > most:
            await _too_large(most, scope, receive, send)


def declared_length(scope: Scope) -> int:
    """Return the length of the body that the request announces; 0 if it announces none."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem(503, "busy", "Too many bytes of other calls and logs wait for the database. Try again.")
    answer.headers["Connection"] = "close"
    answer.headers["Retry-After"] = "1"
    await answer(scope, receive, send)


async def _too_large(most: int, scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem(413, "body_too_large", f"The body has more than {most} bytes. Send less in one call.")
    answer.headers["Connection"] = "close"
    await answer(scope, receive, send)


class Timing:
    """Measures HTTP calls by route and status class."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            # Only paths that exist become labels.
            route = scope.get("route")
            path = getattr(route, "path", "other")
            if path != SYNC_PATH:
                self._metrics.http_seconds.labels(path, f"{status // 100}xx").observe(time.perf_counter() - began)
