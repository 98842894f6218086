"""How frames travel: over a WebSocket, or by long polling where a proxy breaks WebSockets.

Both carry the same texts: the JSON of `edge_protocol.frames`.
"""

import asyncio
import contextlib
from typing import Protocol
from uuid import UUID

import aiohttp
from pydantic import ValidationError

from edge_protocol.frames import FrameError, Welcome, parse_server_frame
from edge_protocol.rest import SESSION_PATH, SYNC_PATH, SyncRequest, SyncResponse
from edge_worker.connection.http import CONNECT_TIMEOUT_S, PROBLEM_TYPE, read_problem, reason

PING_S = 20.0
"""Seconds between pings of an idle WebSocket; half of it without an answer ends the connection."""
WAIT_S = 30.0
"""Seconds that the server may hold a poll."""
_SEND_TIMEOUT_S = 30.0
_POLL_ANSWER_S = 20.0
_MESSAGE_MAX_BYTES = 32 << 20
_AUTH_STATUS = (401, 403)


class TransportError(Exception):
    """The edge API was not reached, or the connection broke; a later attempt may succeed."""


class UpgradeRefusedError(TransportError):
    """Something between here and the edge API does not let a WebSocket through."""


class UnauthorisedError(TransportError):
    """The edge API itself refused the credential."""


class Transport(Protocol):
    """A connection to the edge API."""

    name: str
    sends_are_confirmed: bool
    """Whether `send` returns only when the edge API has the frames."""
    logs_per_send: int
    """Log frames that go into one `send`: with long polling each is an HTTP call, with a WebSocket control frames
    should not wait."""

    async def send(self, texts: list[str]) -> None:
        """Send frames in order.

        Raises:
            TransportError: the connection broke; the frames sent last may or may not have arrived.

        """

    async def receive(self) -> list[str]:
        """Wait for frames.

        Raises:
            TransportError: the connection broke.

        """

    async def close(self) -> None:
        """End the connection; never raises, even if the connection broke before."""


async def open_websocket(client: aiohttp.ClientSession, api_url: str) -> "WebSocketTransport":
    """Connect.

    Raises:
        UnauthorisedError: the edge API refuses the credential.
        UpgradeRefusedError: something other than the edge API answered, and not with a WebSocket.
        TransportError: nothing answered, or the edge API cannot accept a session now.

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


class WebSocketTransport:
    """A session over a WebSocket; one message is one frame."""

    name = "websocket"
    sends_are_confirmed = False
    logs_per_send = 1

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


class LongPollTransport:
    """A session over `POST sync`, which the server holds while it has nothing to send.

    While one call waits for frames, this side's frames go out in short calls of their own: nothing waits for the poll.
    """

    name = "sync"
    sends_are_confirmed = True
    logs_per_send = 8

    def __init__(self, client: aiohttp.ClientSession, api_url: str) -> None:
        self._client = client
        self._url = f"{api_url}{SYNC_PATH}"
        self._session_id: UUID | None = None
        self._incoming: asyncio.Queue[str] = asyncio.Queue()
        self._poll: asyncio.Task[None] | None = None

    async def send(self, texts: list[str]) -> None:
        """Send frames in one call; the first frame must be `hello`, which opens the session."""
        answer = await self._call(texts, wait_s=0)
        if self._session_id is None:
            self._session_id = _session_id(answer)
            if self._session_id is not None:
                self._poll = asyncio.create_task(self._keep_polling(), name="long poll")
        for text in answer:
            self._incoming.put_nowait(text)

    async def receive(self) -> list[str]:
        """Wait for frames from any call."""
        if not self._incoming.empty() or self._poll is None:
            return [await self._incoming.get()]
        getter = asyncio.create_task(self._incoming.get(), name="long poll frames")
        try:
            await asyncio.wait({getter, self._poll}, return_when=asyncio.FIRST_COMPLETED)
            if getter.done():
                return [getter.result()]
            await self._poll
            raise TransportError("the long poll has ended")
        finally:
            getter.cancel()

    async def close(self) -> None:
        """Stop polling."""
        if self._poll is not None:
            self._poll.cancel()
            with contextlib.suppress(asyncio.CancelledError, TransportError):
                await self._poll

    async def _keep_polling(self) -> None:
        while True:
            for text in await self._call([], wait_s=WAIT_S):
                self._incoming.put_nowait(text)

    async def _call(self, texts: list[str], wait_s: float) -> list[str]:
        body = SyncRequest(session_id=self._session_id, frames=texts, wait_s=wait_s).model_dump_json()
        timeout = aiohttp.ClientTimeout(total=wait_s + _POLL_ANSWER_S, connect=CONNECT_TIMEOUT_S)
        try:
            async with self._client.post(
                self._url,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    raise await _refusal(response)
                return SyncResponse.model_validate_json(await response.read()).frames
        except ValidationError as error:
            raise TransportError("something that is not the edge API answered") from error
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise TransportError(f"cannot reach the edge API: {reason(error)}") from error


def _session_id(texts: list[str]) -> UUID | None:
    for text in texts:
        with contextlib.suppress(FrameError):
            frame = parse_server_frame(text)
            if isinstance(frame, Welcome):
                return frame.session_id
    return None


async def _refusal(response: aiohttp.ClientResponse) -> TransportError:
    problem = await read_problem(response)
    if problem is None:
        return TransportError(f"HTTP status {response.status} from something that is not the edge API")
    if response.status in _AUTH_STATUS:
        return UnauthorisedError(problem.detail)
    return TransportError(f"the edge API answers {response.status}: {problem.detail}")
