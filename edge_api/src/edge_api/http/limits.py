"""Plain ASGI middleware: a bound on request bodies, and a metric of how long calls take."""

import time
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_api.http.problems import problem
from edge_api.metrics import Metrics
from edge_protocol.rest import SYNC_PATH

BODY_MAX_BYTES: Final = 4 * 1024 * 1024
"""Bytes of a request body: a long-poll call with some full log frames is the largest there is."""


class BodyLimit:
    """Answers 413 to a body that is too long, before it fills the memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _declared_length(scope) > BODY_MAX_BYTES:
            await _too_large(scope, receive, send)
        else:
            await self._bounded(scope, receive, send)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a body whose length may not be declared."""
        taken = 0

        async def counting() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            # The call ends as if the client had gone; whatever it answers is replaced below.
            return message if taken <= BODY_MAX_BYTES else {"type": "http.disconnect"}

        async def replacing(message: Message) -> None:
            if taken <= BODY_MAX_BYTES:
                await send(message)

        try:
            await self._app(scope, counting, replacing)
        except ClientDisconnect:
            if taken <= BODY_MAX_BYTES:
                raise
        if taken > BODY_MAX_BYTES:
            await _too_large(scope, receive, send)


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem(413, "body_too_large", f"The body has more than {BODY_MAX_BYTES} bytes. Send less in one call.")
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
