"""The WebSocket transport: one task reads, one writes, and the session is between them."""

import asyncio
import logging
from typing import Final

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from edge_api.errors import DatabaseAwayError, RefusedError
from edge_api.frames.receive import receive
from edge_api.http.problems import database_away, refused
from edge_api.runtime import Runtime
from edge_api.sessions.session import Session
from edge_protocol.rest import SESSION_PATH

HELLO_TIMEOUT_S: Final = 10.0
WRITE_TIMEOUT_S: Final = 30.0
"""A worker that takes no byte for so long is not there."""

log = logging.getLogger(__name__)
router = APIRouter()


@router.websocket(SESSION_PATH)
async def session(websocket: WebSocket) -> None:
    """Carry one session."""
    runtime: Runtime = websocket.app.state.runtime
    address = websocket.client.host if websocket.client is not None else "unknown"
    try:
        principal = await runtime.authenticator.worker(websocket.headers.get("authorization"), address)
        runtime.registry.admit()
    except RefusedError as refusal:
        await websocket.send_denial_response(refused(refusal))
        return
    except DatabaseAwayError:
        await websocket.send_denial_response(database_away())
        return
    await websocket.accept()
    await _carry(websocket, Session(runtime.hub, principal, "websocket"))


async def _carry(websocket: WebSocket, session: Session) -> None:
    reader = asyncio.create_task(_read(websocket, session), name=f"read-{session.worker}")
    writer = asyncio.create_task(_write(websocket, session), name=f"write-{session.worker}")
    greeter = asyncio.get_running_loop().call_later(HELLO_TIMEOUT_S, _expect_hello, session)
    try:
        await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        session.detach()
        # Either the worker is gone, then writing fails at once; or the session has ended, then its last frames go out.
        await asyncio.wait({reader, writer}, timeout=WRITE_TIMEOUT_S)
    finally:
        greeter.cancel()
        session.detach()
        reader.cancel()
        writer.cancel()
        for outcome in await asyncio.gather(reader, writer, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect | TimeoutError | OSError):
                log.error("a session failed", exc_info=outcome, extra={"worker": session.worker})


def _expect_hello(session: Session) -> None:
    if session.hello is None:
        session.end("hello_first", f"No hello came within {HELLO_TIMEOUT_S:g} s.", fatal=True)


async def _read(websocket: WebSocket, session: Session) -> None:
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        await receive(session, message["bytes"] if text is None else text)
        await session.has_room()


async def _write(websocket: WebSocket, session: Session) -> None:
    outbox = session.outbox
    while True:
        while not outbox.ready:
            await outbox.changed()
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            for text in outbox.take():
                await websocket.send({"type": "websocket.send", "text": text})
        if outbox.closed and session.ending is not None:
            await websocket.close(session.ending.close_code, session.ending.code)
            return
