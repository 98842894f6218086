"""The control plane of worker hosts: an edge API at the address under which they reach this machine."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select

from edge_store.schema import tables
from edge_testing.database.db import Db
from edge_testing.edge_api.process import ApiProcess
from edge_testing.hosts.execution_api import ExecutionApi
from edge_testing.waiting import until

JOINED_S = 60


@contextmanager
def control_plane(address: str, database: str, log: Path, execution: ExecutionApi) -> Iterator[ApiProcess]:
    """Run an edge API that hosts reach at an address of this machine, and relay the Execution API to them."""
    with ExitStack() as stack:
        url = f"http://{address}:{execution.port}/execution/"
        api = stack.enter_context(ApiProcess(database, log, execution_api_url=url))
        for port in (api.port, execution.port):
            stack.enter_context(_relay(address, port))
        yield api


@contextmanager
def _relay(address: str, port: int) -> Iterator[None]:
    """Forward an address of a network that need not exist yet to the same port on loopback."""
    listen = f"TCP-LISTEN:{port},bind={address},freebind,reuseaddr,fork"
    process = subprocess.Popen(["socat", listen, f"TCP:127.0.0.1:{port}"], start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


async def joined(db: Db, worker: str, after: Any = None) -> Any:
    """Wait until a worker takes jobs, and return its row; `after` is its row before a restart."""
    ready = select(tables.worker).where(
        tables.worker.c.name == worker, tables.worker.c.initialised, ~tables.worker.c.offline
    )
    if after is not None:
        ready = ready.where(tables.worker.c.instance != after.instance)
    (row,) = await until(lambda: db.rows(ready), "it has joined", JOINED_S)
    return row


async def found(db: Db, job: UUID) -> Any:
    """Wait until the DAG `d` has logged what it found on its host, and return that."""

    def line() -> str | None:
        log = db.log_of(db.job(job).lease_id).decode()
        events = [json.loads(line).get("event", "") for line in log.splitlines()]
        return next((event.removeprefix("found ") for event in events if event.startswith("found ")), None)

    return json.loads(await until(line, "the log has come"))
