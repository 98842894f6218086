"""A site's HTTP proxy: takes CONNECT only, and notes what it was asked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from edge_demo.environment import LOCALHOST


class ConnectProxy:
    """Leads every CONNECT, whatever host it names, to one port of this machine."""

    def __init__(self, port: int) -> None:
        """Set up for a port."""
        self._port = port
        self.asked: list[str] = []
        """Targets, each as HOST:PORT."""
        self.url = ""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["ConnectProxy"]:
        """Serve on loopback while the block runs."""
        async with asyncio.TaskGroup() as group:

            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await group.create_task(self._connection(reader, writer), name="proxied connection")

            server = await asyncio.start_server(accept, LOCALHOST, 0)
            self.url = f"http://{LOCALHOST}:{server.sockets[0].getsockname()[1]}"
            async with server:
                yield self

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
        self.asked.append(target.decode())
        if method != b"CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection(LOCALHOST, self._port)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
