"""The worker's side of the v1 API, call by call."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin

import aiohttp
import jwt
from sqlalchemy import Row

SECRET = "v1-shared-secret-" * 5


def token(path: str, /, secret: str = SECRET, **claims: Any) -> str:
    """Return the JWT that edge3 signs for one path; a claim of None is left out."""
    now = int(time.time())
    values: dict[str, Any] = {"method": path, "aud": "api", "iat": now, "nbf": now, "exp": now + 30, **claims}
    given = {name: value for name, value in values.items() if value is not None}
    return jwt.encode(given, secret, algorithm="HS512")


class V1Client:
    """Signs each call for its path, as edge3's own client does."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = f"{url}/edge_worker/v1/"

    async def call(
        self, method: str, path: str, expect: int = 200, authorization: str | None = None, **more: Any
    ) -> Any:
        """Make a call, check its status, and return its JSON."""
        headers = {"Authorization": token(path) if authorization is None else authorization}
        async with self._http.request(method, urljoin(self._url, path), headers=headers, **more) as answer:
            text = await answer.text()
            assert answer.status == expect, f"{method} {path}: {answer.status} {text}"
            return json.loads(text)

    async def register(self, name: str, expect: int = 200, **changes: Any) -> Any:
        """Register a worker."""
        return await self.call("POST", f"worker/{name}", expect, json=body("starting", **changes))

    async def report_state(self, name: str, state: str, expect: int = 200, **changes: Any) -> Any:
        """Report a worker's state, as its heartbeat does."""
        return await self.call("PATCH", f"worker/{name}", expect, json=body(state, **changes))

    async def fetch(self, name: str, expect: int = 200, **changes: Any) -> Any:
        """Ask for a job."""
        given = {"queues": None, "free_concurrency": 4, "supports_task_instance_uuid": True, **changes}
        return await self.call("POST", f"jobs/fetch/{name}", expect, json=given)

    async def report(self, job: dict[str, Any], state: str, expect: int = 200) -> Any:
        """Report the state of a job."""
        given = {"task_instance_id": job["task_instance_id"]}
        return await self.call("PATCH", f"jobs/state/{path_of(job)}/{state}", expect, json=given)

    async def push(self, job: dict[str, Any], text: str, expect: int = 200) -> Any:
        """Send a chunk of a job's log."""
        given = {
            "log_chunk_time": "2026-11-21T20:00:00Z",
            "log_chunk_data": text,
            "task_instance_id": job["task_instance_id"],
        }
        return await self.call("POST", f"logs/push/{path_of(job)}", expect, json=given)


def path_of(job: dict[str, Any]) -> str:
    """Return the part of a path that identifies a job."""
    return f"{job['dag_id']}/{job['task_id']}/{job['run_id']}/{job['try_number']}/{job['map_index']}"


def body(state: str, **changes: Any) -> dict[str, Any]:
    """Return the body of a worker's registration or heartbeat."""
    sysinfo = {
        "status": 20,
        "airflow_version": "3.3.2",
        "edge_provider_version": "5.1.0",
        "python_version": "3.11",
        "worker_start_time": "2026-11-21T20:00:00Z",
        "concurrency": 4,
        "free_concurrency": 4,
    }
    sysinfo |= changes.pop("sysinfo", {})
    return {"state": state, "jobs_active": 0, "queues": ["default"], "sysinfo": sysinfo, **changes}


def named(row: Row[Any]) -> dict[str, Any]:
    """Return the identification that a v1 worker sends for a job of the database."""
    return {
        "dag_id": row.dag_id,
        "task_id": row.task_id,
        "run_id": row.run_id,
        "try_number": row.try_number,
        "map_index": row.map_index,
        "task_instance_id": str(row.id),
    }


@asynccontextmanager
async def v1_client(url: str) -> AsyncIterator[V1Client]:
    """Open a client of one replica."""
    async with aiohttp.ClientSession() as http:
        yield V1Client(http, url)
