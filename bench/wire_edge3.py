"""Raw clients of edge3's API (v1): the calls that an edge3 worker makes, over kept-alive connections.

A real edge3 worker opens a connection per call; keeping them alive is in edge3's favour.
"""

import asyncio
import json
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

import aiohttp
import jwt
from sqlalchemy import create_engine, text

POLL_S = 5.0
"""edge3's default `job_poll_interval`."""


@dataclass(frozen=True)
class Edge3Api:
    """URL of edge3's API, and the secret that all edge3 workers share."""

    url: str
    """Ends with /edge_worker/v1/"""
    secret: str
    database: str


class Edge3Client:
    """One worker's calls."""

    def __init__(self, api: Edge3Api, name: str, http: aiohttp.ClientSession) -> None:
        self._api = api
        self.name = name
        self._http = http

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        now = int(time.time())
        claims = {"method": path, "aud": "api", "iat": now, "nbf": now, "exp": now + 30}
        headers = {"Authorization": jwt.encode(claims, self._api.secret, algorithm="HS512")}
        async with self._http.request(method, self._api.url + path, json=body, headers=headers) as response:
            response.raise_for_status()
            return await response.json() if response.status != 204 else None

    def _state(self, state: str) -> dict[str, Any]:
        sysinfo = {
            "airflow_version": "3.3.2",
            "edge_provider_version": "5.1.0",
            "concurrency": 1,
            "free_concurrency": 1,
        }
        return {"state": state, "jobs_active": 0, "queues": None, "sysinfo": sysinfo}

    async def register(self) -> Self:
        """Register the worker."""
        await self._call("POST", f"worker/{self.name}", self._state("starting"))
        return self

    async def heartbeat(self) -> None:
        """Send a heartbeat."""
        await self._call("PATCH", f"worker/{self.name}", self._state("idle"))

    async def fetch(self) -> dict[str, Any] | None:
        """Ask for a job."""
        body = {"queues": None, "free_concurrency": 1, "supports_task_instance_uuid": True}
        job: dict[str, Any] | None = await self._call("POST", f"jobs/fetch/{self.name}", body)
        return job

    async def set_state(self, job: dict[str, Any], state: str) -> None:
        """Report a job's state."""
        key = f"{job['dag_id']}/{job['task_id']}/{job['run_id']}/{job['try_number']}/{job['map_index']}"
        await self._call("PATCH", f"jobs/state/{key}/{state}", {"task_instance_id": job["task_instance_id"]})


def insert_jobs(api: Edge3Api, count: int) -> list[str]:
    """Queue jobs as edge3's executor does; return their task ids."""
    rows = []
    for _ in range(count):
        ti = {
            "id": str(uuid4()),
            "task_id": f"t{uuid4().hex}",
            "dag_id": "bench",
            "run_id": "r",
            "try_number": 1,
            "dag_version_id": str(uuid4()),
            "map_index": -1,
            "pool_slots": 1,
            "priority_weight": 1,
            "queue": "default",
        }
        command = {
            "token": "x" * 200,
            "dag_rel_path": "bench.py",
            "bundle_info": {"name": "dags-folder"},
            "log_path": "a/b.log",
            "ti": ti,
            "type": "ExecuteTask",
        }
        rows.append(
            {"task_id": ti["task_id"], "ti": ti["id"], "now": datetime.now(UTC), "command": json.dumps(command)}
        )
    engine = create_engine(api.database)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO edge_job (dag_id, task_id, run_id, map_index, try_number, task_instance_id, state, queue,"
                " concurrency_slots, priority_weight, command, queued_dttm)"
                " VALUES ('bench', :task_id, 'r', -1, 1, :ti, 'queued', 'default', 1, 1, :command, :now)"
            ),
            rows,
        )
    engine.dispose()
    return [str(row["task_id"]) for row in rows]


async def life_cycles(api: Edge3Api, clients: int, jobs: int) -> float:
    """Run `jobs` jobs through fetch, running and success with `clients` workers; return the seconds taken.

    Each worker makes one call at a time, like a real one: with more, edge3's API runs out of database connections.
    """
    insert_jobs(api, jobs)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        workers = [await Edge3Client(api, f"bench-{i}", http).register() for i in range(clients)]

        async def work(worker: Edge3Client) -> int:
            done = 0
            while job := await worker.fetch():
                await worker.set_state(job, "running")
                await worker.set_state(job, "success")
                done += 1
            return done

        begin = time.perf_counter()
        done = sum(await asyncio.gather(*(work(worker) for worker in workers)))
        taken = time.perf_counter() - begin
    if done != jobs:
        raise RuntimeError(f"{done} of {jobs} jobs were run")
    return taken


async def heartbeats(api: Edge3Api, clients: int, each: int) -> float:
    """Send `each` heartbeats from each of `clients` workers; return the seconds taken."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        workers = [await Edge3Client(api, f"beat-{i}", http).register() for i in range(clients)]

        async def beat(worker: Edge3Client) -> None:
            for _ in range(each):
                await worker.heartbeat()

        begin = time.perf_counter()
        await asyncio.gather(*(beat(worker) for worker in workers))
        return time.perf_counter() - begin


async def dispatch_latencies(api: Edge3Api, workers: int, jobs: int, spacing_s: float) -> list[float]:
    """Queue one job every `spacing_s` with idle workers polling as the real one does.

    Returns the seconds from queued to reported as running, per job.
    """
    latencies: list[float] = []
    queued: dict[str, float] = {}
    finished = asyncio.Event()

    async def poll(client: Edge3Client) -> None:
        await asyncio.sleep(random.uniform(0, POLL_S))  # noqa: S311  (workers do not start in step)
        while not finished.is_set():
            job = await client.fetch()
            if job:
                await client.set_state(job, "running")
                latencies.append(time.perf_counter() - queued[job["task_id"]])
                await client.set_state(job, "success")
                if len(latencies) == jobs:
                    finished.set()
            else:
                await asyncio.sleep(POLL_S)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        clients = [await Edge3Client(api, f"idle-{i}", http).register() for i in range(workers)]
        polls = [asyncio.create_task(poll(client)) for client in clients]
        await asyncio.sleep(POLL_S)
        for _ in range(jobs):
            begin = time.perf_counter()
            # Recorded before a worker can fetch the job: the insert runs on this loop.
            queued.update(dict.fromkeys(insert_jobs(api, 1), begin))
            await asyncio.sleep(spacing_s)
        await asyncio.wait_for(finished.wait(), 120)
        for task in polls:
            task.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
    return latencies
