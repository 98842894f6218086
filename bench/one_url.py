"""What forwarding costs a task's call: `python -m bench.one_url`, about two minutes.

A real agent's relay and a real edge API stand between the caller, an httpx client as in Airflow's supervisor, and a
stand-in for Airflow's api-server, which answers at once. Direct and forwarded calls take turns.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import aiohttp
import httpx

from bench.dag32 import tree_cpu_s
from bench.report import median, percentile
from edge_demo.postgres import EmbeddedPostgres
from edge_protocol.execution import EXECUTION_PATH, TASK_HEADER
from edge_testing.database.db import Db
from edge_testing.database.server import create_migrated
from edge_testing.edge_api.credentials import bearer, worker_credential
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.session import heartbeat, session
from edge_testing.edge_api.upstream import Upstream
from edge_testing.waiting import until
from edge_testing.workers.agent import start_agent, write_credential
from edge_testing.workers.workload import task_token

BLOCKS, CALLS = 10, 200
BODIES, AT_ONCE = 400, 8
BODY = b"x" * (1 << 20)
TASKS, BEAT_S, SECONDS = 500, 10.0, 20.0
"""A relay forwards one heartbeat of a task each 10 s."""
SMALL = b'"value"'
HEARTBEAT = b'{"hostname": "h", "pid": 1}'


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.one_url", description=__doc__)
    parser.add_argument("--stand-in", action="store_true", help=argparse.SUPPRESS)
    asyncio.run(stand_in() if parser.parse_args().stand_in else measure())


async def stand_in() -> None:
    """Be Airflow, in a process of its own: its CPU is not counted."""
    async with Upstream().serve() as upstream:
        print(upstream.url, flush=True)
        await asyncio.Event().wait()


async def measure() -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as name, EmbeddedPostgres(Path(name) / "data") as server:
        folder, database = Path(name), create_migrated(server, "one_url")
        airflow = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.one_url", "--stand-in", stdout=asyncio.subprocess.PIPE
        )
        assert airflow.stdout is not None
        url = (await airflow.stdout.readline()).decode().strip()
        try:
            with ApiProcess(database, folder / "api.log", execution_api_url=url) as api, Db(database) as db:
                await small_calls(api, db, folder, url, api.pid)
                await large_bodies(api, db, api.pid)
                await many_tasks(api, db, api.pid)
        finally:
            airflow.kill()
            await airflow.wait()


async def small_calls(api: ApiProcess, db: Db, folder: Path, airflow: str, edge_api: int) -> None:
    """Small XComs of one task, one after the other: calls that write, so the database is asked about each."""
    write_credential(folder / "state", "w1", api.url, worker_credential(db, "w1"))
    agent = await start_agent(folder / "state", folder / "agent.log", environ={})
    try:
        found, new = folder / "url", folder / "url.new"
        [job] = db.enqueue(workload=f'echo "$EXECUTION_API" > {new}; mv {new} {found}; sleep 600')
        await until(found.exists, "the task runs", 60)
        path = "xcoms/d/r/t/k"
        relayed = found.read_text().strip()
        times: dict[str, list[float]] = {airflow: [], relayed: []}
        cpu = {edge_api: 0.0, agent.pid: 0.0}
        with httpx.Client(headers=bearer(task_token(job))) as client:
            for block in range(2 * BLOCKS):
                base = (airflow, relayed)[block % 2]
                before = {one: tree_cpu_s(one) for one in cpu}
                times[base] += await asyncio.to_thread(calls, client, f"{base}{path}")
                if base == relayed:
                    cpu = {one: spent + tree_cpu_s(one) - before[one] for one, spent in cpu.items()}
                say(f"block {block + 1} of {2 * BLOCKS}")
    finally:
        await agent.kill()
    direct, forwarded = (times[base] for base in (airflow, relayed))
    for name, taken in (("direct", direct), ("forwarded", forwarded)):
        print(f"{name}: p50 {1000 * median(taken):.2f} ms, p99 {1000 * percentile(taken, 0.99):.2f} ms")
    more_ms = 1000 * (median(forwarded) - median(direct))
    spent = [1000 * one / (BLOCKS * CALLS) for one in cpu.values()]
    print(f"forwarding: {more_ms:.2f} ms at p50; CPU of a call: edge API {spent[0]:.2f} ms, agent {spent[1]:.2f} ms")


def calls(client: httpx.Client, url: str) -> list[float]:
    """Make a block of calls; return how long each took, in seconds."""
    found = []
    for _ in range(CALLS):
        began = time.perf_counter()
        client.post(url, content=SMALL, headers={"content-type": "application/json"}).raise_for_status()
        found.append(time.perf_counter() - began)
    return found


async def large_bodies(api: ApiProcess, db: Db, edge_api: int) -> None:
    """XComs of 1 MiB through the edge API."""
    async with running(api, db, "w2", 1) as (http, [(url, headers)]):
        before, began = tree_cpu_s(edge_api), time.perf_counter()

        async def push(count: int) -> None:
            for _ in range(count):
                async with http.post(f"{url}xcoms/d/r/t/k", data=BytesIO(BODY), headers=headers) as answer:
                    assert answer.status == 200, await answer.text()

        await asyncio.gather(*(push(BODIES // AT_ONCE) for _ in range(AT_ONCE)))
        seconds = time.perf_counter() - began
    print(f"1 MiB bodies: {BODIES / seconds:.0f}/s, {1000 * (tree_cpu_s(edge_api) - before) / BODIES:.1f} ms CPU each")


async def many_tasks(api: ApiProcess, db: Db, edge_api: int) -> None:
    """Heartbeats of many running tasks, as their relays forward them."""
    async with running(api, db, "w3", TASKS) as (http, tasks):
        ends = time.perf_counter() + SECONDS

        async def beat(number: int, url: str, headers: dict[str, str]) -> None:
            await asyncio.sleep(BEAT_S * number / TASKS)
            while time.perf_counter() < ends:
                async with http.put(f"{url}task-instances/x/heartbeat", data=HEARTBEAT, headers=headers) as answer:
                    assert answer.status == 200, await answer.text()
                await asyncio.sleep(BEAT_S)

        before = tree_cpu_s(edge_api)
        await asyncio.gather(*(beat(number, *task) for number, task in enumerate(tasks)))
        share = (tree_cpu_s(edge_api) - before) / SECONDS
    print(f"{TASKS} tasks with a heartbeat every {BEAT_S:g} s: {100 * share:.1f} % of a core")


@asynccontextmanager
async def running(
    api: ApiProcess, db: Db, worker: str, count: int
) -> AsyncIterator[tuple[aiohttp.ClientSession, list[tuple[str, dict[str, str]]]]]:
    """Let a worker run jobs; give a client, and for each job the URL and the headers of its task's calls."""
    credential = worker_credential(db, worker)
    jobs = db.enqueue(count, queue=worker)
    async with session(api.url, credential, name=worker, queues=[worker], concurrency=count) as client:
        leases = [await client.accept() for _ in jobs]
        found = [
            (f"{api.url}{EXECUTION_PATH}/{job.lease_id}/", {TASK_HEADER: task_token(job.id)})
            for job in map(db.job, jobs)
        ]

        async def live() -> None:
            while True:
                await client.send(heartbeat(*leases, desired_version=1))
                await asyncio.sleep(BEAT_S)

        beats = asyncio.create_task(live(), name="heartbeats")
        try:
            async with aiohttp.ClientSession(
                headers=bearer(credential), connector=aiohttp.TCPConnector(limit=64)
            ) as http:
                yield http, found
        finally:
            beats.cancel()
            await asyncio.gather(beats, return_exceptions=True)


def say(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
