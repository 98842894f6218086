"""Calls of the edge API's admin API, with a bearer credential that is re-read from its file at each call.

Every change may be repeated: a call states what is desired, not what to do.

    FleetError
      UnreachableError   no answer, or an answer that shows that the service is in trouble
      RefusedError       the call is refused; `status` and `code` say why
        MissingError     there is no such worker, token or credential
"""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import aiohttp
from pydantic import ValidationError

from edge_protocol.admin import (
    CHANGES_PATH,
    QUEUES_PATH,
    TOKENS_PATH,
    MaintenanceRequest,
    QueueList,
    QueueView,
    TokenCreated,
    TokenRequest,
    WorkerPatch,
    WorkerView,
    token_path,
    worker_credentials_path,
    worker_maintenance_path,
    worker_path,
    worker_shutdown_path,
)
from edge_protocol.rest import Problem

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 10.0
OUT_OF_SCOPE = "out_of_scope"
"""Code of a refusal: the worker is outside of the part of the fleet that the credential covers."""
CONNECTIONS = 8
STREAM_SILENCE_S = 60.0
"""Seconds without a byte after which a stream counts as dead; the server sends a comment every few seconds."""


class FleetError(Exception):
    """A call of the edge API failed."""


class UnreachableError(FleetError):
    """The edge API does not answer."""


class RefusedError(FleetError):
    """The edge API refuses the call."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class MissingError(RefusedError):
    """The edge API does not know the worker, token or credential."""


class AdminApi:
    """One edge API; use it as a context manager. Each call raises a `FleetError` if it fails.

    `ca_bundle` is the PEM text of the CA certificates to trust; None: those of the system.
    """

    def __init__(self, url: str, token_file: Path, ca_bundle: str | None) -> None:
        self.url = url.rstrip("/")
        self._token_file = token_file
        self._ca_bundle = ca_bundle
        self._session: aiohttp.ClientSession | None = None
        self.unreachable_since: datetime | None = None
        """Since when no call has been answered; None while calls are answered."""

    async def __aenter__(self) -> Self:
        tls: ssl.SSLContext | bool = True
        if self._ca_bundle is not None:
            tls = ssl.create_default_context(cadata=self._ca_bundle)
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=tls)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def enter_maintenance(self, worker: str, comment: str) -> WorkerView:
        """Put a worker into maintenance, or change the comment."""
        body = MaintenanceRequest(comment=comment).model_dump(mode="json")
        return await self._change("PUT", worker_maintenance_path(worker), body)

    async def exit_maintenance(self, worker: str) -> WorkerView:
        """End maintenance."""
        return await self._change("DELETE", worker_maintenance_path(worker))

    async def request_shutdown(self, worker: str) -> WorkerView:
        """Ask a worker to drain and stop."""
        return await self._change("PUT", worker_shutdown_path(worker))

    async def cancel_shutdown(self, worker: str) -> WorkerView:
        """Withdraw a shutdown request that the worker has not carried out yet."""
        return await self._change("DELETE", worker_shutdown_path(worker))

    async def patch(self, worker: str, change: WorkerPatch) -> WorkerView:
        """Change queues and slots of a running worker."""
        return await self._change("PATCH", worker_path(worker), change.model_dump(mode="json", exclude_unset=True))

    async def revoke_credentials(self, worker: str) -> None:
        """Revoke all credentials of a worker; its session ends at once."""
        await self._delete(worker_credentials_path(worker))

    async def remove(self, worker: str) -> None:
        """Remove a worker from the fleet; it may be removed already.

        Raises:
            RefusedError: status 409: the worker is alive.

        """
        await self._delete(worker_path(worker))

    async def create_token(self, request: TokenRequest) -> TokenCreated:
        """Create a join token."""
        return TokenCreated.model_validate(await self._call("POST", TOKENS_PATH, request.model_dump(mode="json")))

    async def revoke_token(self, token: UUID | str) -> None:
        """Revoke a join token; it may be gone already."""
        await self._delete(token_path(token))

    async def queues(self) -> list[QueueView]:
        """Return the backlog and the free slots of all queues."""
        return QueueList.model_validate(await self._call("GET", QUEUES_PATH)).items

    async def _change(self, method: str, path: str, body: Any = None) -> WorkerView:
        return WorkerView.model_validate(await self._call(method, path, body))

    async def _delete(self, path: str) -> None:
        try:
            await self._call("DELETE", path)
        except MissingError:
            return

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON of the answer, or None for an empty one.

        Raises:
            UnreachableError: no answer within the timeout, status 5xx, or the credential is refused.
            RefusedError: another 4xx; the problem's detail is the message.

        """
        try:
            async with (
                asyncio.timeout(CALL_TIMEOUT_S),
                self._open_session().request(
                    method, self.url + path, json=body, headers=await self._headers()
                ) as response,
            ):
                text = await response.read()
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._lost(f"{method} {path}: {type(error).__name__}") from error
        refusal = _refusal(method, path, status, text) if status >= 400 else None
        # A credential for a part of the fleet is valid; only this call is outside of its scope.
        if refusal is None or refusal.code != OUT_OF_SCOPE:
            self._check_service(method, path, status)
        self.unreachable_since = None
        if refusal is not None:
            raise refusal
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise RefusedError(
                f"{method} {path}: the answer is not JSON; is {self.url} the edge API?", status, ""
            ) from error

    @asynccontextmanager
    async def change_stream(self, last_event_id: str | None) -> AsyncIterator[aiohttp.StreamReader]:
        """Open the change stream, after the given event. Opening and reading raise a `FleetError` if they fail."""
        path = CHANGES_PATH
        headers = await self._headers() | ({"Last-Event-ID": last_event_id} if last_event_id is not None else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CALL_TIMEOUT_S, sock_read=STREAM_SILENCE_S)
        try:
            async with self._open_session().get(self.url + path, headers=headers, timeout=timeout) as response:
                self._check_service("GET", path, response.status)
                if response.status >= 400:
                    raise _refusal("GET", path, response.status, await response.read())
                self.unreachable_since = None
                yield response.content
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._lost(f"GET {path}: {type(error).__name__}") from error

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise UnreachableError("the session is not open")
        return self._session

    async def _headers(self) -> dict[str, str]:
        try:
            token = await asyncio.to_thread(self._token_file.read_text)
        except OSError as error:
            # The Secret may not be mounted yet, so this is retried like an edge API that does not answer.
            raise self._lost(f"the credential can't be read from {self._token_file}") from error
        return {"Authorization": f"Bearer {token.strip()}", "Accept": "application/json, text/event-stream"}

    def _check_service(self, method: str, path: str, status: int) -> None:
        """Treat an edge API that is in trouble, or that refuses the operator's credential, as unreachable."""
        if status in (401, 403):
            raise self._lost(
                f"{method} {path}: the credential in {self._token_file} is refused; create a new one of role admin"
            )
        if status >= 500:
            raise self._lost(f"{method} {path}: status {status}")

    def _lost(self, message: str) -> UnreachableError:
        if self.unreachable_since is None:
            self.unreachable_since = datetime.now(UTC)
            log.warning("the edge API does not answer: %s", message)
        return UnreachableError(f"the edge API does not answer ({message})")


def _refusal(method: str, path: str, status: int, text: bytes) -> RefusedError:
    try:
        problem = Problem.model_validate_json(text)
        detail, code = problem.detail, problem.code
    except ValidationError:
        detail, code = text[:200].decode(errors="replace"), ""
    kind = MissingError if status == 404 else RefusedError
    return kind(f"{method} {path}: {detail}", status, code)
