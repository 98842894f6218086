"""One forwarded call, top-down: whose is it, may it pass, what does Airflow answer.

Airflow itself lets a task whose try is over write XComs and Variables, with a token that is still valid. Here a call
passes only while the task's job runs under its lease, so that a task that was given up can change nothing.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NoReturn
from uuid import UUID

import jwt
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from edge_api.database.batcher import Batcher
from edge_api.database.pool import Database
from edge_api.errors import RefusedError
from edge_api.execution.names import named
from edge_api.execution.upstream import Upstream
from edge_api.http.address import address_of
from edge_api.identity.authenticator import Authenticator, Principal
from edge_api.identity.refusals import Refusals
from edge_api.metrics import Metrics
from edge_protocol.execution import EXECUTION_PATH, METHODS, REFRESHED_HEADER, TASK_HEADER, forwarded
from edge_protocol.job_state import JobState
from edge_store import outages

AUDITED: Final = frozenset({403, 404})
"""Refusals that no healthy worker meets."""
KNOWN_MOST: Final = 20_000
"""Leases of which the job is kept in memory."""


class ExecutionForwarding:
    """Serves the path; without an upstream it refuses every call."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        refusals: Refusals,
        metrics: Metrics,
        upstream: Upstream | None,
        runs_here: Callable[[str, UUID], bool],
    ) -> None:
        """Set up; `runs_here` returns whether a worker is connected to this process and runs a lease."""
        self._database = database
        self._authenticator = authenticator
        self._refusals = refusals
        self._metrics = metrics
        self._upstream = upstream
        self._runs_here = runs_here
        self._known: OrderedDict[UUID, outages.CallingJob] = OrderedDict()
        """Jobs of leases that were looked up: which job a lease is of never changes."""
        self.calls: Batcher[UUID, outages.CallingJob | None] = Batcher("execution-leases", self._read, patience_s=5)
        self.renewals: Batcher[UUID, None] = Batcher("execution-tokens", self._ask, patience_s=5)
        self.router = APIRouter()
        self.router.add_route(f"{EXECUTION_PATH}/{{lease:uuid}}/{{path:path}}", self.forward, methods=list(METHODS))

    async def forward(self, request: Request) -> Response:
        """Answer one call.

        Raises:
            RefusedError: it is not forwarded, or Airflow is away, or the task's token is to be renewed (503).
            DatabaseAwayError: its lease can't be looked up now.

        """
        principal = await self._authenticator.worker(request.headers.get("authorization"), address_of(request))
        lease: UUID = request.path_params["lease"]
        path = _raw_path(request, lease)
        try:
            upstream = self._checked(path)
            token, renewed = await self._token(request, path, lease, principal)
            _check_name(request.method, path, principal)
        except RefusedError as refusal:
            if refusal.status in AUDITED:
                what = f"{request.method} {path} for lease {lease}"
                authorization = request.headers.get("authorization")
                self._refusals.note(f"worker:{principal.worker}", refusal.code, authorization, what)
            elif refusal.code == "fenced":
                self._metrics.fenced.labels("execution").inc()
                self._refusals.check_lease(principal.worker, lease, "execution")
            raise
        if token.expired:
            await self._renew(lease)
        answer = await upstream.call(request, path, token.text)
        if _not_valid(answer):
            # Airflow's key is another one by now.
            await self._renew(lease)
        if renewed and REFRESHED_HEADER not in answer.headers:
            answer.headers[REFRESHED_HEADER] = token.text
        return answer

    async def _token(self, request: Request, path: str, lease: UUID, principal: Principal) -> "tuple[_Token, bool]":
        """Check the lease, and return the token for a call as `_token_of` does."""
        text = request.headers.get(TASK_HEADER, "")
        known = self._known_to_run(request.method, path, lease, principal)
        if known is not None:
            token, renewed = _token_of(text, known)
            if not token.expired:
                return token, renewed
        return _token_of(text, await self._look_up(lease, principal))

    def _known_to_run(self, method: str, path: str, lease: UUID, principal: Principal) -> outages.CallingJob | None:
        """Return the job for a call that changes nothing, if its worker is connected here and has the job.

        A heartbeat of each task comes every few seconds. For all that writes the database is asked.
        """
        if method not in ("GET", "HEAD") and not path.endswith("/heartbeat"):
            return None
        known = self._known.get(lease)
        if known is None or known.worker_name != principal.worker or not self._runs_here(principal.worker, lease):
            return None
        return known

    async def _look_up(self, lease: UUID, principal: Principal) -> outages.CallingJob:
        job = _checked_lease(await self.calls.submit(lease), principal)
        self._known[lease] = job
        self._known.move_to_end(lease)
        if len(self._known) > KNOWN_MOST:
            self._known.popitem(last=False)
        return job

    async def _renew(self, lease: UUID) -> NoReturn:
        """Have the task's scheduler make a new token, and let the worker repeat the call meanwhile."""
        self._known.pop(lease, None)
        await self.renewals.submit(lease)
        raise RefusedError(
            503, "token_expired", "The task's token is no longer valid; its scheduler makes a new one. Try again."
        )

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

    async def _read(self, ids: Sequence[UUID]) -> list[outages.CallingJob | None]:
        """Return the job of each lease, or None."""
        found = {row.lease_id: row for row in await self._database.rows(outages.calling(list(set(ids))))}
        return [found.get(lease) for lease in ids]

    async def _ask(self, ids: Sequence[UUID]) -> list[None]:
        await self._database.run(outages.ask_for_tokens(list(set(ids))))
        return [None] * len(ids)


@dataclass(frozen=True, slots=True)
class _Token:
    """A task's token. Airflow verifies its signature: here only the right task's token gets so far."""

    text: str
    issued_at: float
    expires_at: float

    @property
    def expired(self) -> bool:
        return self.expires_at <= time.time()


def _checked_lease(row: outages.CallingJob | None, principal: Principal) -> outages.CallingJob:
    if row is not None and row.worker_name != principal.worker:
        raise RefusedError(403, "foreign_lease", "The lease is another worker's.")
    if row is None or row.state != JobState.RUNNING:
        raise RefusedError(410, "fenced", "The task's job does not run under this lease any more. End the task.")
    return row


def _token_of(text: str, job: outages.CallingJob) -> tuple[_Token, bool]:
    """Return the token for a call, and whether it is one that the task does not have yet.

    A task that was out of contact could not renew its own in time; its scheduler has made a newer one.
    """
    own = _parsed(text, job.id)
    if own is None:
        raise RefusedError(403, "foreign_task_token", f"The token in {TASK_HEADER} is not this task's.")
    newer = _parsed(job.execution_token or "", job.id)
    if newer is not None and newer.issued_at > own.issued_at and not newer.expired:
        return newer, True
    return own, False


def _check_name(method: str, path: str, principal: Principal) -> None:
    """Refuse a Connection or Variable that the worker's credential does not allow."""
    found = named(method, path)
    if found is None or found.allowed(getattr(principal, found.resource)):
        return
    fix = (
        f"To allow it, add it to `{found.resource}` of the credential {principal.credential_id} (PATCH in the admin "
        f"API), and of the join token for workers that enrol later (edge-api token create --{found.resource})."
    )
    if found.name is None:
        fix = "A name must not be encoded twice, and must have no empty part between slashes."
    raise RefusedError(
        403, "name_not_allowed", f"The credential of worker {principal.worker} does not allow the {found}. {fix}"
    )


def _parsed(text: str, job_id: UUID) -> _Token | None:
    """Return a token whose subject is the job, or None."""
    try:
        claims = jwt.decode(text, options={"verify_signature": False, "verify_exp": False})
        token = _Token(text, float(claims.get("iat", 0)), float(claims.get("exp", "inf")))
    except (jwt.PyJWTError, TypeError, ValueError):
        return None
    return token if claims.get("sub") == str(job_id) else None


def _not_valid(answer: Response) -> bool:
    """Return whether Airflow refuses the token itself (`JWTBearer` in `airflow.api_fastapi.execution_api.security`)."""
    return answer.status_code == HTTPStatus.FORBIDDEN and b"Invalid auth token" in getattr(answer, "body", b"")


def _raw_path(request: Request, lease: UUID) -> str:
    """Return the path below the lease as it is on the wire: decoded, an encoded slash would look like another one."""
    raw: bytes = request.scope["raw_path"]
    return raw.decode("ascii", "replace").partition("?")[0].partition(f"{lease}/")[2]
