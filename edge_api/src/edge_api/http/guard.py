"""Protection from hostile or broken clients, before any route: slow headers, slow bodies, compressed bodies.

A compressed body is always refused: no client of this API compresses, and a small one can unpack to any size.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge_api.http.limits import declared_length
from edge_api.http.problems import problem

HEADERS_TIMEOUT_S: Final = 10.0
"""From the connection, or from the first byte of a further request, to the end of its headers."""
HEADERS_MAX_BYTES: Final = 64 * 1024
BODY_TIMEOUT_S: Final = 30.0
"""For a small body; a large one has this time and what it takes at `BODY_BYTES_PER_S`."""
BODY_BYTES_PER_S: Final = 64 * 1024

Note = Callable[[str, str, str | None, str], None]
"""As `Refusals.note`: who, code, secret, what."""

NOTED: Final = frozenset({400, 408, 413, 415, 422})
"""Answers with an entry in the audit trail; refusals of credentials are noted where they are decided."""


class Guard:
    """Refuses compressed and slow bodies, and notes refused requests."""

    def __init__(self, app: ASGIApp, note: Note, body_timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._app = app
        self._note = note
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in NOTED:
                client = scope["client"][0] if scope.get("client") else "unknown"
                what = f"{scope['method']} {scope['path'][:200]}"
                self._note(client, f"http_{message['status']}", _header(scope, b"authorization"), what)
            await send(message)

        if (_header(scope, b"content-encoding") or "identity").lower() != "identity":
            answer = problem(415, "compressed_body", "The body is compressed. Send it uncompressed.")
            answer.headers["Connection"] = "close"
            await answer(scope, receive, noting)
        else:
            await self._timed(scope, receive, noting)

    async def _timed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Bound the time in which the body must arrive."""
        late = False
        complete = False
        allowed_s = self._body_timeout_s + declared_length(scope) / BODY_BYTES_PER_S
        ends = asyncio.get_running_loop().time() + allowed_s

        async def timely() -> Message:
            nonlocal late, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(ends):
                    message = await receive()
            except TimeoutError:
                late = complete = True
                # The call ends as if the client had gone; its answer is replaced below.
                return {"type": "http.disconnect"}
            complete = not message.get("more_body", False)
            return message

        async def replacing(message: Message) -> None:
            if not late:
                await send(message)

        try:
            await self._app(scope, timely, replacing)
        except ClientDisconnect:
            if not late:
                raise
        if late:
            answer = problem(408, "body_too_slow", f"The body did not arrive within {allowed_s:.0f} s.")
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)


def _header(scope: Scope, wanted: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == wanted:
            return bytes(value).decode("latin-1")
    return None


class PatientProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol with bounds on the headers, which Uvicorn itself does not have."""

    note: Note
    _deadline: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first headers."""
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Start to count the headers of a request."""
        self._header_bytes = 0
        if self._deadline is None:
            self._start_clock()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the path."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass the request on, unless it was refused already."""
        self._stop_clock()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADERS_MAX_BYTES and not self.transport.is_closing():
            self._refuse(431, "headers_too_large", f"The headers have more than {HEADERS_MAX_BYTES} bytes.")

    def _start_clock(self) -> None:
        self._deadline = self.loop.call_later(HEADERS_TIMEOUT_S, self._too_slow)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._refuse(408, "headers_too_slow", f"The headers did not arrive within {HEADERS_TIMEOUT_S:g} s.")

    def _refuse(self, status: int, code: str, detail: str) -> None:
        self.note(self.client[0] if self.client else "unknown", code, None, "connection")
        self.transport.write(_raw(problem(status, code, detail)))
        self.transport.close()


def patient_protocol(note: Note) -> type[PatientProtocol]:
    """Return the protocol class, bound to the audit trail; Uvicorn creates the instances."""
    return type("PatientProtocol", (PatientProtocol,), {"note": staticmethod(note)})


def _raw(answer: Any) -> bytes:
    """Return the bytes of an answer, after which the connection closes."""
    lines = [f"HTTP/1.1 {answer.status_code} Refused", "connection: close"]
    lines += [f"{name.decode()}: {value.decode()}" for name, value in answer.raw_headers]
    return "\r\n".join([*lines, "", ""]).encode() + bytes(answer.body)
