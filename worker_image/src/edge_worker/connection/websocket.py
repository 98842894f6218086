"""Transport 1: a WebSocket. One message is one frame."""

import asyncio

import aiohttp

from edge_protocol.rest import SESSION_PATH
from edge_worker.connection.http import PROBLEM_TYPE, reason
from edge_worker.connection.transports import TransportError, UnauthorisedError, UpgradeRefusedError

PING_S = 20.0
"""Seconds between pings of an idle connection; half of it without an answer ends the connection."""
_MESSAGE_MAX_BYTES = 32 << 20
_SEND_TIMEOUT_S = 30.0
_AUTH_STATUS = (401, 403)


class WebSocketTransport:
    """A WebSocket session."""

    name = "websocket"
    sends_are_confirmed = False

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, texts: list[str]) -> None:
        """Send each frame as a message of its own."""
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                for text in texts:
                    await self._socket.send_str(text)
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise TransportError(f"connection lost while sending: {reason(error)}") from error

    async def receive(self) -> list[str]:
        """Wait for the next message."""
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                return [message.data]
            if message.type is aiohttp.WSMsgType.BINARY:
                continue
            if message.type is aiohttp.WSMsgType.CLOSE:
                raise TransportError(f"closed by the edge API: {message.extra or 'no reason given'} ({message.data})")
            raise TransportError(f"connection lost: {self._socket.exception() or 'closed'}")

    async def close(self) -> None:
        """Close the socket, in bounded time."""
        await self._socket.close()


async def open_websocket(client: aiohttp.ClientSession, api_url: str) -> WebSocketTransport:
    """Connect.

    Raises:
        UnauthorisedError: the edge API refuses the credential.
        UpgradeRefusedError: something that is not the edge API answered, and not with a WebSocket.
        TransportError: nothing answered, or the edge API cannot take a session now.

    """
    try:
        socket = await client.ws_connect(
            f"{api_url}{SESSION_PATH}",
            heartbeat=PING_S,
            max_msg_size=_MESSAGE_MAX_BYTES,
            compress=0,
            timeout=aiohttp.ClientWSTimeout(ws_close=5),
        )
    except aiohttp.WSServerHandshakeError as error:
        kind = error.headers.get("Content-Type", "").split(";")[0] if error.headers else ""
        if kind == PROBLEM_TYPE:
            if error.status in _AUTH_STATUS:
                raise UnauthorisedError("the edge API refuses the worker's credential") from error
            raise TransportError(f"the edge API answers {error.status}: {error.message}") from error
        raise UpgradeRefusedError(f"the WebSocket was refused with HTTP status {error.status}") from error
    except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
        raise TransportError(f"cannot reach the edge API at {api_url}: {reason(error)}") from error
    return WebSocketTransport(socket)
