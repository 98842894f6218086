"""A TCP way to a PostgreSQL on a Unix socket. It can stop forwarding with all connections open, like a dead network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sqlalchemy.engine import make_url

from edge_demo.environment import LOCALHOST


class Relay:
    """Forwards connections while it is not cut."""

    def __init__(self, target: str) -> None:
        self._target = make_url(target)
        self._open = asyncio.Event()
        self._open.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.url = ""

    def cut(self) -> None:
        """Forward nothing any more; connections stay open on both sides."""
        self._open.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Relay"]:
        """Listen on loopback."""
        server = await asyncio.start_server(self._accept, LOCALHOST, 0)
        port = server.sockets[0].getsockname()[1]
        self.url = self._target.set(host=LOCALHOST, port=port, query={}).render_as_string(hide_password=False)
        try:
            yield self
        finally:
            server.close()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        folder = self._target.host or str(self._target.query["host"])
        target_reader, target_writer = await asyncio.open_unix_connection(Path(folder) / ".s.PGSQL.5432")
        for source, sink in ((reader, target_writer), (target_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink), name="relay")
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while data := await source.read(1 << 16):
                    await self._open.wait()
                    sink.write(data)
                    await sink.drain()
        finally:
            sink.close()
