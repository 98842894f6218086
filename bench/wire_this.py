"""Raw clients of this project's protocol (v2 over WebSocket): the frames of an agent, without tasks."""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from edge_protocol.rest import ENROLL_PATH, SESSION_PATH
from edge_store.database import engine
from edge_store.database.statement import run
from edge_store.jobs import scheduling

TIMEOUT_S = 120


@dataclass(frozen=True)
class EdgeApi:
    """URL of an edge API, a join token for it, and its database."""

    url: str
    join_token: str
    database: str


class Client:
    """One worker's session."""

    def __init__(self, name: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.name = name
        self._socket = socket

    async def send(self, frame: dict[str, Any]) -> None:
        """Send one frame."""
        await self._socket.send_str(json.dumps(frame))

    async def receive(self) -> dict[str, Any]:
        """Return the next frame."""
        frame: dict[str, Any] = json.loads(await self._socket.receive_str(timeout=TIMEOUT_S))
        return frame

    async def heartbeat(self) -> None:
        """Send a heartbeat."""
        await self.send({"type": "heartbeat", "free_slots": 1, "jobs_active": 0, "held": []})

    async def stay(self, beat_s: float) -> None:
        """Stay connected: send heartbeats, and read what comes."""

        async def beat() -> None:
            while True:
                await self.heartbeat()
                await asyncio.sleep(beat_s)

        async with asyncio.TaskGroup() as group:
            group.create_task(beat())
            while True:
                await self.receive()


@asynccontextmanager
async def clients(
    api: EdgeApi, prefix: str, count: int, slots: int, queue: str = "default"
) -> AsyncIterator[Sequence[Client]]:
    """Enrol and connect `count` workers of `slots` slots."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        made = []
        for number in range(count):
            name = f"{prefix}-{number}"
            body = {"join_token": api.join_token, "worker": name}
            async with http.post(api.url + ENROLL_PATH, json=body) as response:
                response.raise_for_status()
                credential = (await response.json())["credential"]
            headers = {"Authorization": f"Bearer {credential}"}
            socket = await stack.enter_async_context(http.ws_connect(api.url + SESSION_PATH, headers=headers))
            client = Client(name, socket)
            await client.send(
                {
                    "type": "hello",
                    "worker": name,
                    "instance": str(uuid4()),
                    "versions": {"worker": "bench", "airflow": version("apache-airflow")},
                    "queues": [queue],
                    "concurrency": slots,
                }
            )
            while (await client.receive())["type"] != "desired":
                pass
            await client.heartbeat()
            made.append(client)
        yield made


def insert_jobs(api: EdgeApi, count: int) -> list[UUID]:
    """Queue jobs with the executor's own statement, in one transaction; return their ids."""
    ids = [uuid4() for _ in range(count)]
    workload = json.dumps({"token": "x" * 200, "ti": {"id": str(uuid4()), "queue": "default"}, "type": "ExecuteTask"})
    database = engine.make_engine(api.database)
    with database.begin() as connection:
        for number in ids:
            run(
                connection,
                scheduling.enqueue(
                    scheduling.NewJob(
                        id=number, kind="task", queue="default", team=None, rank=1, priority=1, slots=1,
                        workload=workload, log_path="a/b.log", dag_id="bench", task_id="t", run_id="r", map_index=-1,
                        try_number=1, owner="bench",
                    )
                ),
            )  # fmt: skip
    return ids


async def life_cycles(api: EdgeApi, count: int, total: int, slots: int) -> float:
    """Run `total` jobs through job, accept, report with `count` workers; return the seconds taken."""
    done = 0
    finished = asyncio.Event()

    async def work(client: Client) -> None:
        nonlocal done
        while done < total:
            frame = await client.receive()
            if frame["type"] == "job":
                await client.send({"type": "accept", "lease_id": frame["lease_id"]})
            elif frame["type"] == "ack" and frame["of"] == "accept":
                await client.send({"type": "report", "lease_id": frame["lease_id"], "outcome": "succeeded"})
            elif frame["type"] == "ack" and frame["of"] == "report":
                done += 1
                if done == total:
                    finished.set()
            elif frame["type"] in ("fenced", "error"):
                raise RuntimeError(f"the edge API refused: {frame}")

    # Queued first, as for edge3: the workers find a full queue.
    insert_jobs(api, total)
    begin = time.perf_counter()
    async with clients(api, "bench", count, slots) as workers:
        tasks = [asyncio.create_task(work(worker), name=worker.name) for worker in workers]
        waiting = asyncio.create_task(finished.wait(), name="all jobs done")
        ended, _ = await asyncio.wait({waiting, *tasks}, timeout=TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        taken = time.perf_counter() - begin
        for task in (*tasks, waiting):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if done < total:
        raise RuntimeError(f"{done} of {total} jobs were run; ended too soon: {ended}")
    return taken


async def heartbeats(api: EdgeApi, count: int, each: int) -> float:
    """Send `each` heartbeats from each of `count` workers; return the seconds until the API has handled them all.

    Heartbeats are not answered, so each worker ends with a frame that is: an accept of an unknown lease.
    """
    async with clients(api, "beat", count, 1) as workers:

        async def beat(client: Client) -> None:
            for _ in range(each):
                await client.heartbeat()
            await client.send({"type": "accept", "lease_id": str(uuid4())})
            while (await client.receive())["type"] != "fenced":
                pass

        begin = time.perf_counter()
        await asyncio.gather(*(beat(worker) for worker in workers))
        return time.perf_counter() - begin


async def dispatch_latencies(api: EdgeApi, count: int, total: int, spacing_s: float) -> list[float]:
    """Queue one job every `spacing_s` with `count` idle workers; return the seconds from queued to accepted."""
    accepted: deque[float] = deque()
    queued: dict[str, float] = {}
    finished = asyncio.Event()

    async def work(client: Client) -> None:
        while True:
            frame = await client.receive()
            if frame["type"] == "job":
                queued[frame["lease_id"]] = queued.pop(frame["job_id"])
                await client.send({"type": "accept", "lease_id": frame["lease_id"]})
            elif frame["type"] == "ack" and frame["of"] == "accept":
                accepted.append(time.perf_counter() - queued.pop(frame["lease_id"]))
                await client.send({"type": "report", "lease_id": frame["lease_id"], "outcome": "succeeded"})
                if len(accepted) == total:
                    finished.set()

    async with clients(api, "idle", count, 1) as workers:
        tasks = [asyncio.create_task(work(worker), name=worker.name) for worker in workers]
        for _ in range(total):
            begin = time.perf_counter()
            # Recorded before a worker can be offered the job: the insert runs on this loop.
            queued.update({str(job): begin for job in insert_jobs(api, 1)})
            await asyncio.sleep(spacing_s)
        await asyncio.wait_for(finished.wait(), TIMEOUT_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return list(accepted)
