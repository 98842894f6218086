"""The edge API's protocol alone, for tuning: `python -m bench.wire`, half a minute. `-m bench` is the full benchmark.

It starts an embedded PostgreSQL and one `edge-api serve`, and prints for each measurement the rate and the CPU time
that the API process and PostgreSQL used per item.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from bench.report import percentile
from bench.wire_this import EdgeApi, dispatch_latencies, heartbeats, life_cycles
from edge_demo.environment import LOCALHOST, free_port
from edge_demo.postgres import EmbeddedPostgres
from edge_demo.processes import ManagedProcess, answers, run_command, wait_until

CLIENTS = 16
JOBS_OF_SLOTS = {1: 2000, 8: 8000}
BEATS = 2000
IDLE = 100
READY_S = 60


@contextmanager
def serving(database: str, folder: Path) -> Iterator[tuple[EdgeApi, psutil.Process]]:
    """Run an edge API on a database."""
    port = free_port()
    url = f"http://{LOCALHOST}:{port}"
    command = [sys.executable, "-m", "edge_api"]
    environment = {**os.environ, "EDGE_API_DATABASE_URL": database, "EDGE_API_PORT": str(port)}
    run_command([*command, "db", "upgrade"], environment, folder, READY_S)
    token = run_command([*command, "token", "create"], environment, folder, READY_S).strip()
    server = ManagedProcess("edge-api", [*command, "serve"], environment, Path(os.devnull), folder)
    server.start()
    try:
        wait_until(lambda: answers(f"{url}/readyz"), f"{url} is ready", READY_S, [server])
        yield EdgeApi(url, token, database), psutil.Process(server.pid)
    finally:
        server.end()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _postgres_cpu_s() -> float:
    return sum(_cpu_s(found) for found in psutil.process_iter() if found.name() == "postgres")


def measure(name: str, count: int, server: psutil.Process, work: Callable[[], Awaitable[float]]) -> None:
    """Run one measurement and print its line."""
    before, database = _cpu_s(server), _postgres_cpu_s()
    seconds = asyncio.run(_awaited(work))
    spent, database = _cpu_s(server) - before, _postgres_cpu_s() - database
    print(
        f"{name}: {count / seconds:8.0f} /s   API CPU {1000 * spent / count:6.3f} ms each"
        f"   PostgreSQL CPU {1000 * database / count:6.3f} ms each"
    )


async def _awaited(work: Callable[[], Awaitable[float]]) -> float:
    return await work()


def main() -> None:
    """Run and print the measurements, each with its own database and API process."""
    only = set(sys.argv[1:]) or {"jobs", "beats", "idle"}
    with (
        tempfile.TemporaryDirectory(prefix="edge-wire-") as name,
        EmbeddedPostgres((folder := Path(name)) / "data") as postgres,
    ):
        for slots, jobs in JOBS_OF_SLOTS.items() if "jobs" in only else ():
            with serving(postgres.create_database(f"jobs{slots}"), folder) as (api, server):
                measure(
                    f"jobs, {CLIENTS} clients, slots {slots}",
                    jobs,
                    server,
                    partial(life_cycles, api, CLIENTS, jobs, slots),
                )
        if "beats" in only:
            with serving(postgres.create_database("beats"), folder) as (api, server):
                measure("heartbeats", CLIENTS * BEATS, server, partial(heartbeats, api, CLIENTS, BEATS))
        if "idle" in only:
            with serving(postgres.create_database("idle"), folder) as (api, _):
                found = asyncio.run(dispatch_latencies(api, IDLE, 100, 0.02))
                p50, p99 = (1000 * percentile(found, part) for part in (0.5, 0.99))
                print(f"queued -> accepted, {IDLE} idle workers: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


if __name__ == "__main__":
    main()
