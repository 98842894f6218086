"""The guard in front of all routes, without a server."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from edge_api.http.guard import Guard


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(body)(scope, receive, send)


async def run(receive: Callable[[], Any], *headers: tuple[bytes, bytes]) -> tuple[int, bytes, list[tuple[Any, ...]]]:
    """Return the status and body of the answer, and what was noted."""
    noted: list[tuple[Any, ...]] = []
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    guard = Guard(echo, lambda *what: noted.append(what), body_timeout_s=0.05)
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": list(headers), "client": ("1.2.3.4", 5)}
    await guard(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], body, noted


def pieces(*bodies: bytes, endless: bool = False) -> Callable[[], Any]:
    left = list(bodies)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": endless or bool(left)}

    return receive


async def test_a_body_passes() -> None:
    assert await run(pieces(b"a", b"b")) == (200, b"ab", [])


async def test_a_slow_body_is_refused_and_noted() -> None:
    status, body, noted = await run(pieces(b"a", endless=True))
    assert (status, b"body_too_slow" in body) == (408, True)
    assert noted == [("1.2.3.4", "http_408", None, "POST /x")]


async def test_a_compressed_body_is_refused_unread() -> None:
    status, body, noted = await run(pieces(), (b"content-encoding", b"gzip"), (b"authorization", b"Bearer x"))
    assert (status, b"compressed_body" in body) == (415, True)
    assert noted == [("1.2.3.4", "http_415", "Bearer x", "POST /x")]


async def test_a_large_body_may_take_longer() -> None:
    left = [b"a", b"b"]

    async def slow() -> Message:
        await asyncio.sleep(0.1)
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    assert (await run(slow, (b"content-length", b"1048576")))[:2] == (200, b"ab")
