"""Transport 2: `POST sync`, held by the server while it has nothing to say.

While one call waits for frames, frames of this side go out in short calls of their own, so nothing waits for the poll.
"""

import asyncio
import contextlib
from uuid import UUID

import aiohttp
from pydantic import ValidationError

from edge_protocol.frames import FrameError, Welcome, parse_server_frame
from edge_protocol.rest import SYNC_PATH, SyncRequest, SyncResponse
from edge_worker.connection.http import CONNECT_TIMEOUT_S, read_problem, reason
from edge_worker.connection.transports import TransportError, UnauthorisedError

WAIT_S = 30.0
"""Seconds that the server may hold a poll."""
_ANSWER_S = 20.0
_AUTH_STATUS = (401, 403)


class LongPollTransport:
    """A session over single calls."""

    name = "sync"
    sends_are_confirmed = True

    def __init__(self, client: aiohttp.ClientSession, api_url: str) -> None:
        self._client = client
        self._url = f"{api_url}{SYNC_PATH}"
        self._session_id: UUID | None = None
        self._incoming: asyncio.Queue[str] = asyncio.Queue()
        self._poll: asyncio.Task[None] | None = None

    async def send(self, texts: list[str]) -> None:
        """Send frames in one call; the first one has to be `hello`, and opens the session."""
        answer = await self._call(texts, wait_s=0)
        if self._session_id is None:
            self._session_id = _session_id(answer)
            if self._session_id is not None:
                self._poll = asyncio.create_task(self._keep_polling(), name="long poll")
        for text in answer:
            self._incoming.put_nowait(text)

    async def receive(self) -> list[str]:
        """Wait for frames from any call."""
        if not self._incoming.empty() or self._poll is None:
            return [await self._incoming.get()]
        getter = asyncio.create_task(self._incoming.get(), name="long poll frames")
        try:
            await asyncio.wait({getter, self._poll}, return_when=asyncio.FIRST_COMPLETED)
            if getter.done():
                return [getter.result()]
            await self._poll
            raise TransportError("the long poll has ended")
        finally:
            getter.cancel()

    async def close(self) -> None:
        """Stop polling."""
        if self._poll is not None:
            self._poll.cancel()
            with contextlib.suppress(asyncio.CancelledError, TransportError):
                await self._poll

    async def _keep_polling(self) -> None:
        while True:
            for text in await self._call([], wait_s=WAIT_S):
                self._incoming.put_nowait(text)

    async def _call(self, texts: list[str], wait_s: float) -> list[str]:
        body = SyncRequest(session_id=self._session_id, frames=texts, wait_s=wait_s).model_dump_json()
        timeout = aiohttp.ClientTimeout(total=wait_s + _ANSWER_S, connect=CONNECT_TIMEOUT_S)
        try:
            async with self._client.post(
                self._url, data=body, headers={"Content-Type": "application/json"}, timeout=timeout
            ) as response:
                if response.status != 200:
                    raise await _refusal(response)
                return SyncResponse.model_validate_json(await response.read()).frames
        except ValidationError as error:
            raise TransportError("something that is not the edge API answered") from error
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise TransportError(f"cannot reach the edge API: {reason(error)}") from error


def _session_id(texts: list[str]) -> UUID | None:
    for text in texts:
        with contextlib.suppress(FrameError):
            frame = parse_server_frame(text)
            if isinstance(frame, Welcome):
                return frame.session_id
    return None


async def _refusal(response: aiohttp.ClientResponse) -> TransportError:
    problem = await read_problem(response)
    if problem is None:
        return TransportError(f"HTTP status {response.status} from something that is not the edge API")
    if response.status in _AUTH_STATUS:
        return UnauthorisedError(problem.detail)
    return TransportError(f"the edge API answers {response.status}: {problem.detail}")
