"""What tests with a real host share: the centre as hosts reach it, and what it knows of them."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from edge_testing.database.db import Db
from edge_testing.edge_api.process import ApiProcess
from edge_testing.hosts.execution_api import ExecutionApi
from edge_testing.waiting import until

JOINED_S = 60


@contextmanager
def centre(address: str, database: str, log: Path, execution: ExecutionApi) -> Iterator[ApiProcess]:
    """Run an edge API, which hosts reach at an address of this machine, as they do the Execution API."""
    with ExitStack() as stack:
        url = f"http://{address}:{execution.port}/execution/"
        api = stack.enter_context(ApiProcess(database, log, execution_api_url=url))
        for port in (api.port, execution.port):
            stack.enter_context(_relay(address, port))
        yield api


@contextmanager
def _relay(address: str, port: int) -> Iterator[None]:
    """Lead from an address of a network that does not exist yet to the same port of the loopback device."""
    listen = f"TCP-LISTEN:{port},bind={address},freebind,reuseaddr,fork"
    process = subprocess.Popen(["socat", listen, f"TCP:127.0.0.1:{port}"], start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


async def joined(db: Db, worker: str, after: Any = None) -> Any:
    """Wait until a worker takes jobs, and return what is known of it; `after`: what was known before a restart."""
    ready = f"SELECT * FROM edge.worker WHERE name = '{worker}' AND initialised AND NOT offline"
    if after is not None:
        ready += f" AND instance <> '{after.instance}'"
    (row,) = await until(lambda: db.rows(ready), "it has joined", JOINED_S)
    return row


async def found(db: Db, job: UUID) -> Any:
    """Wait until a task that looked around has told what it found, and return that."""

    def line() -> str | None:
        log = db.log_of(db.job(job).lease_id).decode()
        events = [json.loads(line).get("event", "") for line in log.splitlines()]
        return next((event.removeprefix("found ") for event in events if event.startswith("found ")), None)

    return json.loads(await until(line, "the log has come"))
