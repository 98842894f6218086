"""Airflow's api-server, as forwarded calls reach it."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Final

import aiohttp
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from yarl import URL

from edge_api.errors import EdgeApiError, RefusedError
from edge_api.settings import ApiSettings
from edge_protocol.execution import DOWN_HEADERS, UP_HEADERS

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 60.0
"""Airflow's api-server takes milliseconds; a statement that waits for locks may take this long."""
KEEP_ALIVE_S: Final = 4.0
"""Uvicorn, which serves Airflow's API, closes an idle connection after 5 s."""
CONNECTIONS_MOST: Final = 256
LARGE_BYTES: Final = 1 << 20
"""aiohttp sends a longer body piece by piece, if it comes as a file."""
SMALL_BYTES: Final = 64 * 1024
"""An answer up to this size is sent in one piece."""

log = logging.getLogger(__name__)


class UpstreamError(EdgeApiError):
    """Airflow's Execution API can't be called with these settings."""


class Upstream:
    """A pool of connections to Airflow's Execution API; use `close` at the end."""

    def __init__(self, url: str, settings: ApiSettings) -> None:
        """Set up.

        Raises:
            UpstreamError: the CA file can't be read.

        """
        self._url = url.rstrip("/")
        self._tls = _tls_context(settings)
        self._client: aiohttp.ClientSession | None = None

    async def call(self, request: Request, path: str, token: str) -> Response:
        """Forward a call and return Airflow's answer, whatever it is.

        Raises:
            RefusedError: Airflow does not answer (503).

        """
        body = await request.body()
        query = request.scope["query_string"].decode("ascii", "replace")
        # As it came: nothing may be decoded or encoded again on the way.
        url = URL(f"{self._url}/{path}{'?' if query else ''}{query}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name in UP_HEADERS}
        headers["Authorization"] = f"Bearer {token}"
        try:
            answer = await self._session().request(
                request.method,
                url,
                data=BytesIO(body) if len(body) > LARGE_BYTES else body or None,
                headers=headers,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("Airflow's Execution API does not answer: %s", str(error) or type(error).__name__)
            raise RefusedError(503, "airflow_away", "Airflow's Execution API does not answer. Try again.") from error
        kept = {name: value for name, value in answer.headers.items() if name.lower() in DOWN_HEADERS}
        length = answer.content_length
        if (length is not None and length <= SMALL_BYTES) or request.method == "HEAD":
            return await self._whole(answer, kept)
        return StreamingResponse(_stream(answer), answer.status, kept)

    @staticmethod
    async def _whole(answer: aiohttp.ClientResponse, headers: dict[str, str]) -> Response:
        async with answer:
            try:
                return Response(await answer.read(), answer.status, headers)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise RefusedError(503, "airflow_away", "Airflow's answer broke off. Try again.") from error

    def _session(self) -> aiohttp.ClientSession:
        # Made inside the running loop.
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls, limit=CONNECTIONS_MOST, keepalive_timeout=KEEP_ALIVE_S),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=ANSWER_TIMEOUT_S),
                # Compressed answers pass as they are.
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            )
        return self._client

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()
            # aiohttp closes TLS connections one turn of the loop later.
            await asyncio.sleep(0)


async def _stream(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece


def _tls_context(settings: ApiSettings) -> ssl.SSLContext | bool:
    if settings.execution_api_ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=settings.execution_api_ca)
    except (OSError, ssl.SSLError) as error:
        raise UpstreamError(
            f"The CA file {settings.execution_api_ca} can't be read ({error.strerror or 'not PEM'}). Set "
            "EDGE_API_EXECUTION_API_CA to a PEM file."
        ) from error
