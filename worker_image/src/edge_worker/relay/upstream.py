"""One call of a task on its way to the edge API, and the answer on its way down."""

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final, Self
from uuid import UUID

import aiohttp
from aiohttp import web
from yarl import URL

from edge_protocol.execution import DOWN_HEADERS, EXECUTION_PATH, TASK_HEADER, UP_HEADERS
from edge_worker.connection.http import CONNECT_TIMEOUT_S, PROBLEM_TYPE, read_problem, reason

SMALL_BYTES: Final = 64 << 10
"""An answer up to this size is passed down in one piece; if it breaks off, the call is tried again."""
LARGE_BYTES: Final = 1 << 20
"""aiohttp sends a longer body piece by piece, if it comes as a file."""
SILENT_S: Final = 30.0
"""A call without any answer for so long went nowhere."""
AWAY: Final = frozenset({502, 503, 504})
"""Statuses by which the edge API or a proxy says that the call went nowhere."""

_UP: Final = UP_HEADERS - {"accept-encoding"}
_DOWN: Final = DOWN_HEADERS - {"content-encoding"}
"""Compression is for the line: the client offers it, and unpacks answers."""

log = logging.getLogger(__name__)


class AwayError(Exception):
    """Nobody answers a call."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call as its supervisor sent it."""

    method: str
    path: str
    """Below the Execution API, with the query and as it came: nothing is decoded or encoded again on the way."""
    headers: Mapping[str, str]
    token: str = field(repr=False)
    body: bytes = field(repr=False)

    @classmethod
    async def read(cls, request: web.Request) -> Self:
        """Read a call."""
        path = request.raw_path.partition("/")[2].partition("/")[2].lstrip("/")
        headers = {name: value for name, value in request.headers.items() if name.lower() in _UP}
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return cls(request.method, path, headers, token, await request.read())


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is given in one piece."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        """Return it as a response."""
        return web.Response(status=self.status, body=self.body or None, headers=self.headers)


def refusal(status: int, code: str, detail: str) -> Answer:
    """Return an error as Airflow's Task SDK reads it.

    It takes the reason only from a body with exactly this content type (`ServerResponseError` in `airflow.sdk.api`).
    """
    body = json.dumps({"detail": {"reason": code, "message": detail}}).encode()
    return Answer(status, body, {"Content-Type": "application/json"})


class Upstream:
    """The edge API, as the relay calls it."""

    def __init__(self, client: aiohttp.ClientSession, api_url: str) -> None:
        """Set up; `client` sends the worker's credential with every call."""
        self._client = client
        self._api_url = api_url

    @asynccontextmanager
    async def send(self, lease: UUID, call: Call, token: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a call with the task's token and return the head of the answer.

        Raises:
            AwayError: the call went nowhere, as far as can be known.

        """
        try:
            async with self._client.request(
                call.method,
                URL(f"{self._api_url}{EXECUTION_PATH}/{lease}/{call.path}", encoded=True),
                data=BytesIO(call.body) if len(call.body) > LARGE_BYTES else call.body or None,
                headers={**call.headers, TASK_HEADER: token},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=SILENT_S),
            ) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AwayError(reason(error)) from error


async def read_short(answer: aiohttp.ClientResponse, *, bodiless: bool = False) -> Answer | None:
    """Return an answer that has come as a whole; None: it is long and has to be passed down in pieces.

    Raises:
        AwayError: it says that the call went nowhere, or it broke off.

    """
    if answer.content_type == PROBLEM_TYPE and not bodiless:
        found = await read_problem(answer)
        if found is None or answer.status in AWAY:
            raise AwayError("its answer broke off" if found is None else found.detail)
        return refusal(answer.status, found.code, found.detail)
    if answer.status in AWAY:
        raise AwayError(f"HTTP status {answer.status}")
    headers = down_headers(answer)
    if bodiless or answer.status == web.HTTPNoContent.status_code:
        return Answer(answer.status, headers=headers)
    if answer.content_length is not None and answer.content_length <= SMALL_BYTES:
        return Answer(answer.status, await answer.read(), headers)
    return None


def down_headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the headers of an answer that reach the supervisor."""
    return {name: value for name, value in answer.headers.items() if name.lower() in _DOWN}


async def pass_pieces(
    request: web.Request, answer: aiohttp.ClientResponse, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Pass a long answer down piece by piece; where it breaks off, the supervisor sees that."""
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    whole = False
    try:
        async for piece in answer.content.iter_any():
            await response.write(piece)
        whole = True
    except (aiohttp.ClientError, TimeoutError) as error:
        log.warning("a long answer broke off: %s", reason(error))
    finally:
        # Half of it is on its way: only the end of the connection says that it is not the whole.
        if not whole and request.transport is not None:
            request.transport.abort()
    if whole:
        await response.write_eof()
    return response
