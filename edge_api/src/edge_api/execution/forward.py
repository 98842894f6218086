"""One forwarded call, top-down: whose is it, may it pass, what does Airflow answer.

Airflow itself lets a task whose try is over write XComs and Variables, with a token that is still valid. Here a call
passes only while the task's job runs under its lease, so that a task that was given up can change nothing.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import jwt
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from edge_api.database.batcher import Batcher
from edge_api.database.pool import Database
from edge_api.errors import RefusedError
from edge_api.execution.upstream import Upstream
from edge_api.http.address import address_of
from edge_api.identity.authenticator import Authenticator, Principal
from edge_api.identity.refusals import Refusals
from edge_api.metrics import Metrics
from edge_protocol.execution import EXECUTION_PATH, METHODS, TASK_HEADER, forwarded
from edge_protocol.job_state import JobState
from edge_store.jobs import leases

AUDITED: Final = frozenset({403, 404})
"""Refusals that no healthy worker meets."""


class ExecutionForwarding:
    """Serves the path; without an upstream it refuses every call."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        refusals: Refusals,
        metrics: Metrics,
        upstream: Upstream | None,
    ) -> None:
        self._database = database
        self._authenticator = authenticator
        self._refusals = refusals
        self._metrics = metrics
        self._upstream = upstream
        self.batcher: Batcher[UUID, leases.JobOfLease | None] = Batcher("execution-leases", self._read, patience_s=5)
        self.router = APIRouter()
        self.router.add_route(f"{EXECUTION_PATH}/{{lease:uuid}}/{{path:path}}", self.forward, methods=list(METHODS))

    async def forward(self, request: Request) -> Response:
        """Answer one call.

        Raises:
            RefusedError: it is not forwarded, or Airflow is away (503).
            DatabaseAwayError: its lease can't be looked up now.

        """
        principal = await self._authenticator.worker(request.headers.get("authorization"), address_of(request))
        lease: UUID = request.path_params["lease"]
        path = _raw_path(request, lease)
        token = request.headers.get(TASK_HEADER, "")
        try:
            upstream = self._checked(path)
            self._check_lease(await self.batcher.submit(lease), principal, token)
        except RefusedError as refusal:
            if refusal.status in AUDITED:
                what = f"{request.method} {path} for lease {lease}"
                self._refusals.note(f"worker:{principal.worker}", refusal.code, None, what)
            elif refusal.code == "fenced":
                self._metrics.fenced.labels("execution").inc()
                self._refusals.check_lease(principal.worker, lease, "execution")
            raise
        return await upstream.call(request, path, token)

    def _checked(self, path: str) -> Upstream:
        if self._upstream is None:
            raise RefusedError(
                501,
                "not_forwarded",
                "This edge API does not forward calls of tasks. Set EDGE_API_EXECUTION_API_URL, or the worker's own "
                "EDGE_WORKER_EXECUTION_API_URL.",
            )
        if not forwarded(path):
            raise RefusedError(404, "path_not_forwarded", "This path of the Execution API is not forwarded.")
        return self._upstream

    @staticmethod
    def _check_lease(row: leases.JobOfLease | None, principal: Principal, token: str) -> None:
        if row is not None and row.worker_name != principal.worker:
            raise RefusedError(403, "foreign_lease", "The lease is another worker's.")
        if row is None or row.state != JobState.RUNNING:
            raise RefusedError(410, "fenced", "The task's job does not run under this lease any more. End the task.")
        if _subject(token) != str(row.id):
            raise RefusedError(403, "foreign_task_token", f"The token in {TASK_HEADER} is not this task's.")

    async def _read(self, ids: Sequence[UUID]) -> list[leases.JobOfLease | None]:
        """Return the job of each lease, or None."""
        found = {row.lease_id: row for row in await self._database.rows(leases.lease_states(list(set(ids))))}
        return [found.get(lease) for lease in ids]


def _raw_path(request: Request, lease: UUID) -> str:
    """Return the path below the lease as it is on the wire: decoded, an encoded slash would look like another one."""
    raw: bytes = request.scope["raw_path"]
    return raw.decode("ascii", "replace").partition("?")[0].partition(f"{lease}/")[2]


def _subject(token: str) -> Any:
    """Return whose token it is. Airflow verifies the signature: here only the right task's token gets so far."""
    try:
        return jwt.decode(token, options={"verify_signature": False}).get("sub")
    except jwt.PyJWTError:
        return None
