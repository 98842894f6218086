"""The WebSocket transport: one task reads, one writes, and the session is between them."""

import asyncio
import logging
from typing import Final

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from edge_api.errors import DatabaseAwayError, RefusedError
from edge_api.frames.receive import Receiver
from edge_api.http.address import address_of
from edge_api.http.problems import database_away, refused
from edge_api.identity.authenticator import Authenticator
from edge_api.sessions.registry import Registry
from edge_api.sessions.session import Session
from edge_protocol.rest import SESSION_PATH

HELLO_TIMEOUT_S: Final = 10.0
WRITE_TIMEOUT_S: Final = 30.0
"""A worker that takes no byte for so long is gone."""

log = logging.getLogger(__name__)


class WebSocketTransport:
    """Carries sessions over WebSockets."""

    def __init__(self, authenticator: Authenticator, registry: Registry, receiver: Receiver) -> None:
        self._authenticator = authenticator
        self._registry = registry
        self._receiver = receiver
        self.router = APIRouter()
        self.router.add_api_websocket_route(SESSION_PATH, self.connect)

    async def connect(self, websocket: WebSocket) -> None:
        """Carry one session, from the handshake to the end of the connection."""
        address = address_of(websocket)
        try:
            principal = await self._authenticator.worker(websocket.headers.get("authorization"), address)
            session = self._registry.begin(Session, principal)
        except RefusedError as refusal:
            await websocket.send_denial_response(refused(refusal))
            return
        except DatabaseAwayError:
            await websocket.send_denial_response(database_away())
            return
        await websocket.accept()
        await self._carry(websocket, session)

    async def _carry(self, websocket: WebSocket, session: Session) -> None:
        reader = asyncio.create_task(self._read(websocket, session), name=f"read-{session.worker}")
        writer = asyncio.create_task(_write(websocket, session), name=f"write-{session.worker}")
        greeter = asyncio.get_running_loop().call_later(HELLO_TIMEOUT_S, _expect_hello, session)
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            session.detach()
            # Either the worker is gone and writing fails at once, or the session has ended and its last frames go out.
            await asyncio.wait({reader, writer}, timeout=WRITE_TIMEOUT_S)
        finally:
            greeter.cancel()
            session.detach()
            reader.cancel()
            writer.cancel()
            for outcome in await asyncio.gather(reader, writer, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(
                    outcome, WebSocketDisconnect | TimeoutError | OSError
                ):
                    log.error("a session failed", exc_info=outcome, extra={"worker": session.worker})

    async def _read(self, websocket: WebSocket, session: Session) -> None:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            await self._receiver.receive(session, message["bytes"] if text is None else text)
            await session.room_for_frames()


def _expect_hello(session: Session) -> None:
    if session.hello is None:
        session.end("hello_first", f"No hello came within {HELLO_TIMEOUT_S:g} s.", fatal=True)


async def _write(websocket: WebSocket, session: Session) -> None:
    outbox = session.outbox
    while True:
        while not outbox.ready:
            await outbox.changed()
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            while (text := outbox.next()) is not None:
                await websocket.send({"type": "websocket.send", "text": text})
        if outbox.closed and session.ending is not None:
            await websocket.close(session.ending.close_code, session.ending.code)
            return
