"""One HTTP session to the edge API, with a bearer credential that is read again from its file when it changes."""

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

import aiohttp
from pydantic import ValidationError

from edge_operator.fleet.errors import MissingError, RefusedError, UnreachableError
from edge_protocol.rest import Problem

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 10.0
OUT_OF_SCOPE = "out_of_scope"
"""Code of the refusal of what lies outside of the part of the fleet that the credential is for."""
CONNECTIONS = 8
STREAM_SILENCE_S = 60.0
"""Seconds without a byte after which a stream counts as dead; the server sends a comment every few seconds."""


class FleetHttp:
    """Use it as a context manager. `authorities` is PEM text; None: those of the system."""

    def __init__(self, url: str, token_file: Path, authorities: str | None) -> None:
        self.url = url.rstrip("/")
        self._token_file = token_file
        self._authorities = authorities
        self._session: aiohttp.ClientSession | None = None
        self.unreachable_since: datetime | None = None
        """When calls began to fail without an answer; None while they are answered."""

    async def __aenter__(self) -> Self:
        tls: ssl.SSLContext | bool = True
        if self._authorities is not None:
            tls = ssl.create_default_context(cadata=self._authorities)
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=tls)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None) -> Any:
        """Return the JSON of the answer, or None where it has none.

        Raises:
            UnreachableError: no answer within the timeout, a 5xx, or the credential is refused.
            RefusedError: another 4xx; the problem's detail is the message.

        """
        try:
            async with (
                asyncio.timeout(CALL_TIMEOUT_S),
                self._open_session().request(
                    method, self.url + path, json=body, params=query, headers=await self._headers()
                ) as response,
            ):
                text = await response.read()
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._lost(f"{method} {path}: {type(error).__name__}") from error
        refusal = _refusal(method, path, status, text) if status >= 400 else None
        # A credential for a part of the fleet is good; it is this one call that it does not reach to.
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
    async def stream(self, path: str, headers: dict[str, str]) -> AsyncIterator[aiohttp.StreamReader]:
        """Open a stream of events; the errors are those of `call`, also while it is read."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CALL_TIMEOUT_S, sock_read=STREAM_SILENCE_S)
        try:
            async with self._open_session().get(
                self.url + path, headers=headers | await self._headers(), timeout=timeout
            ) as response:
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
            # The Secret may be about to come, so this mends itself like an edge API that is away.
            raise self._lost(f"the credential can't be read from {self._token_file}") from error
        return {"Authorization": f"Bearer {token.strip()}", "Accept": "application/json, text/event-stream"}

    def _check_service(self, method: str, path: str, status: int) -> None:
        """Count an edge API that is in trouble, or that does not know the operator's credential, as away."""
        if status in (401, 403):
            raise self._lost(
                f"{method} {path}: the credential in {self._token_file} is refused; give a new one of role admin"
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
