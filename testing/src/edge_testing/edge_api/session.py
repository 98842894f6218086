"""The worker's side of a session, frame by frame."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from edge_protocol import rest
from edge_testing.edge_api.credentials import bearer
from edge_testing.edge_api.process import DEADLINE_S


def frame(type_: str, **fields: Any) -> dict[str, Any]:
    """Return a frame; UUIDs become text."""
    return {"type": type_, **{name: str(value) if isinstance(value, UUID) else value for name, value in fields.items()}}


def hello(name: str, **fields: Any) -> dict[str, Any]:
    """Return a hello of a worker with four slots."""
    values = {"worker": name, "instance": uuid4(), "versions": {"worker": "1"}, "concurrency": 4, **fields}
    values["held"] = [str(lease) for lease in values.get("held", [])]
    return frame("hello", **values)


def heartbeat(*held: UUID | str, **fields: Any) -> dict[str, Any]:
    """Return a heartbeat with the leases that are held."""
    values = {"free_slots": 0, "jobs_active": len(held), **fields}
    return frame("heartbeat", held=[str(lease) for lease in held], **values)


def log_frame(lease: UUID | str, offset: int, data: bytes, **fields: Any) -> dict[str, Any]:
    """Return a chunk of a log."""
    return frame("log", lease_id=str(lease), offset=offset, data=base64.b64encode(data).decode(), **fields)


class Client:
    """The worker's side of a WebSocket session; tests decide about every frame."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.seen: list[dict[str, Any]] = []
        self._unread: list[dict[str, Any]] = []

    @property
    def close_code(self) -> int | None:
        """WebSocket close code; None while the session is open."""
        return self._socket.close_code

    async def send(self, *frames: dict[str, Any] | str) -> None:
        """Send frames; strings are sent unchanged."""
        for each in frames:
            await self._socket.send_str(each if isinstance(each, str) else json.dumps(each))

    async def receive(self) -> dict[str, Any] | None:
        """Return the next frame, or None if the session is closed."""
        message = await asyncio.wait_for(self._socket.receive(), DEADLINE_S)
        if message.type is not aiohttp.WSMsgType.TEXT:
            return None
        found: dict[str, Any] = json.loads(message.data)
        self.seen.append(found)
        return found

    async def announce(self, size: int) -> None:
        """Send the header of a text frame of this many bytes, and nothing of the frame itself.

        A server that refuses a frame for its length does so now. A client that still sends would be interrupted by the
        end of the connection, at a time that nobody knows, and could miss the close code.
        """
        transport = self._socket.get_extra_info("transport") or self._socket._writer.transport
        fin_and_text, masked_64_bit_length, mask = 0x81, 0xFF, bytes(4)
        transport.write(bytes([fin_and_text, masked_64_bit_length]) + size.to_bytes(8, "big") + mask)

    async def expect(self, type_: str, **fields: Any) -> dict[str, Any]:
        """Return the next frame with this type and these fields; other frames are kept for later calls."""
        expected = frame(type_, **fields)
        for found in self._unread:
            if expected.items() <= found.items():
                self._unread.remove(found)
                return found
        while (latest := await self.receive()) is not None:
            if expected.items() <= latest.items():
                return latest
            self._unread.append(latest)
        raise AssertionError(f"closed ({self.close_code}) before {expected}; seen: {self.seen}")

    def has(self, type_: str, **fields: Any) -> bool:
        """Return whether a frame with this type and these fields has been received."""
        return any(frame(type_, **fields).items() <= found.items() for found in self.seen)

    async def closed(self) -> int | None:
        """Read to the end and return the close code."""
        while await self.receive() is not None:
            pass
        return self.close_code

    async def accept(self) -> str:
        """Accept the next job, and return its lease once the accept is acknowledged."""
        job = await self.expect("job")
        await self.send(frame("accept", lease_id=job["lease_id"]))
        await self.expect("ack", of="accept", lease_id=job["lease_id"])
        return str(job["lease_id"])

    async def report(self, lease: str, outcome: str = "succeeded", **fields: Any) -> None:
        """Report the outcome of a lease and wait for the acknowledgement."""
        await self.send(frame("report", lease_id=lease, outcome=outcome, **fields))
        await self.expect("ack", of="report", lease_id=lease)

    async def cut(self) -> None:
        """Break the connection without a bye."""
        transport = self._socket.get_extra_info("socket")
        if transport is not None:
            self._socket._response.connection.transport.abort()  # type: ignore[union-attr]
        await self._socket.close()


@asynccontextmanager
async def connect(url: str, credential: str) -> AsyncIterator[Client]:
    """Open a WebSocket without a hello."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{url}{rest.SESSION_PATH}", headers=bearer(credential), max_msg_size=0) as socket,
    ):
        yield Client(socket)


@asynccontextmanager
async def session(url: str, credential: str, **fields: Any) -> AsyncIterator[Client]:
    """Open a session: connect, send the hello (`fields`), and wait for welcome and desired state."""
    name = fields.pop("name", "w1")
    async with connect(url, credential) as client:
        await client.send(hello(name, **fields))
        await client.expect("welcome")
        await client.expect("desired")
        yield client
