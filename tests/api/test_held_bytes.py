"""Workers log faster than the database takes it: what the edge API holds is bounded, and nothing is lost."""

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Final
from uuid import UUID

import psutil

from edge_demo.postgres import EmbeddedPostgres
from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import worker_credential
from edge_testing.edge_api.process import StartApi
from edge_testing.edge_api.session import Client, heartbeat, log_frame, session

WORKERS: Final = 16
CHUNK: Final = 256 << 10
WINDOW: Final = 2 << 20
BOUND: Final = 8 << 20
STALL_MARGIN: Final = 16 << 20
"""Of a process that reads frames of 350 KB from all sockets; without the bound it would hold 32 MB."""
FLUSH_MARGIN: Final = 96 << 20
"""A batch of 4 MB of logs exists several times while the database driver writes it."""


class LoggingWorker:
    """The worker's side of one log that is sent as fast as the window allows, as the agent does it."""

    def __init__(self, client: Client, lease: str, text: bytes) -> None:
        self.client = client
        self.lease = lease
        self.text = text
        self.sent = 0
        self.acked = 0

    async def fill(self) -> None:
        """Send as much as the window allows."""
        while self.sent < min(len(self.text), self.acked + WINDOW):
            await self._send()

    async def _send(self) -> None:
        piece = self.text[self.sent : self.sent + CHUNK]
        await self.client.send(log_frame(self.lease, self.sent, piece))
        self.sent += len(piece)

    async def finish(self) -> None:
        """Follow the answers until all is acknowledged."""
        while self.acked < len(self.text):
            ack = await self.client.expect("ack", of="log", lease_id=self.lease)
            if ack["offset"] > self.acked:
                self.acked = ack["offset"]
                self.sent = max(self.sent, self.acked)
                await self.fill()
            else:
                # A single piece finds out from where the log goes on.
                self.acked = self.sent = ack["offset"]
                await self._send()


async def test_a_stall_under_a_flood_of_logs(start_api: StartApi, db: Db, postgres: EmbeddedPostgres) -> None:
    api = await start_api(held_bytes_max=BOUND, heartbeat_interval_s=60)
    async with AsyncExitStack() as stack:
        workers = []
        for number in range(WORKERS):
            name = f"w{number}"
            credential = worker_credential(db, name, queues=[name])
            client = await stack.enter_async_context(session(api.url, credential, name=name, queues=[name]))
            db.enqueue(queue=name)
            workers.append(LoggingWorker(client, await client.accept(), os.urandom(WINDOW)))
        process = psutil.Process(api.pid)
        before = process.memory_info().rss
        with postgres.stalled():
            await asyncio.gather(*(worker.fill() for worker in workers))
            # Frames after the logs are read: nobody becomes silent behind logs.
            for worker in workers:
                await worker.client.send(heartbeat(worker.lease, desired_version=0))
            await asyncio.gather(*(worker.client.expect("desired") for worker in workers))
            held = await api.metric("airflow_edge_held_bytes")
            grown = process.memory_info().rss - before
        assert 0.5 * BOUND < held <= BOUND
        assert grown < BOUND + STALL_MARGIN
        await asyncio.gather(*(worker.finish() for worker in workers))
        assert await api.metric("airflow_edge_deferred_logs_total") > 0
        for worker in workers:
            assert db.log_of(UUID(worker.lease)) == worker.text
        assert process.memory_info().rss - before < BOUND + FLUSH_MARGIN
