"""The edge API's wire alone, in half a minute: `python -m bench.wire`. For tuning; the full benchmark is `-m bench`.

It starts an embedded PostgreSQL and one `edge-api serve`, and tells for each measurement the rate and the CPU time that
the API process and PostgreSQL took for one item.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from bench.report import percentile
from bench.wire_this import EdgeApi, dispatch_latencies, heartbeats, life_cycles
from edge_demo.postgres import EmbeddedPostgres

CLIENTS = 16
JOBS_OF_SLOTS = {1: 2000, 8: 8000}
BEATS = 2000
IDLE = 100


@contextmanager
def serving(database: str) -> Iterator[tuple[EdgeApi, psutil.Process]]:
    """Run an edge API on a database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "edge_api"]
    environment = {**os.environ, "EDGE_API_DATABASE_URL": database, "EDGE_API_PORT": str(port)}
    subprocess.run([*command, "db", "upgrade"], env=environment, check=True, stdout=subprocess.DEVNULL)
    made = subprocess.run([*command, "token", "create"], env=environment, check=True, capture_output=True, text=True)
    with subprocess.Popen([*command, "serve"], env=environment, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_ready(f"http://127.0.0.1:{port}/readyz")
            yield EdgeApi(f"http://127.0.0.1:{port}", made.stdout.strip(), database), psutil.Process(server.pid)
        finally:
            server.terminate()


def _wait_ready(url: str) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310
                return
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.05)


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
    """Measure and print, each on a database and an API process of its own."""
    only = set(sys.argv[1:]) or {"jobs", "beats", "idle"}
    with (
        tempfile.TemporaryDirectory(prefix="edge-wire-") as folder,
        EmbeddedPostgres(Path(folder) / "data") as postgres,
    ):
        for slots, jobs in JOBS_OF_SLOTS.items() if "jobs" in only else ():
            with serving(postgres.create_database(f"jobs{slots}")) as (api, server):
                name = f"jobs, {CLIENTS} clients, slots {slots}"
                measure(name, jobs, server, partial(life_cycles, api, CLIENTS, jobs, slots))
        if "beats" in only:
            with serving(postgres.create_database("beats")) as (api, server):
                measure("heartbeats", CLIENTS * BEATS, server, partial(heartbeats, api, CLIENTS, BEATS))
        if "idle" in only:
            with serving(postgres.create_database("idle")) as (api, _):
                found = asyncio.run(dispatch_latencies(api, IDLE, 100, 0.02))
                p50, p99 = (1000 * percentile(found, part) for part in (0.5, 0.99))
                print(f"queued -> accepted, {IDLE} idle workers: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


if __name__ == "__main__":
    main()
