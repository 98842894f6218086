"""The agent's end of the local socket."""

import asyncio
import contextlib
import hmac
import logging
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from edge_worker.errors import StateFolderError
from edge_worker.host.control.address import ControlFiles
from edge_worker.host.control.messages import LINE_MAX, Answer, Request, WorkerStatus, verdict

log = logging.getLogger(__name__)

_REQUEST_S = 10.0
"""Seconds that a caller has to send its request, and to read an answer."""
_LOOK_S = 0.1
"""Seconds between two checks of the status for a caller that waits."""


class Controllable(Protocol):
    """The agent, as commands see it."""

    def status(self) -> WorkerStatus:
        """Return the status of the worker."""

    async def request_maintenance(self, *, on: bool, comment: str | None) -> None:
        """Request to enter or to leave maintenance; the request is durable on return.

        Raises:
            StateFolderError: it has taken effect, but is not durable. The message says why and how to fix it.

        """

    def request_stop(self) -> None:
        """Drain and stop; a repeated request changes nothing."""


class ControlServer:
    """Serves commands until cancelled."""

    def __init__(self, folder: Path, worker: Controllable) -> None:
        self._files = ControlFiles(folder)
        self._worker = worker
        self._token: str | None = None
        self._callers: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Listen. A worker that cannot create its socket logs that and works without it."""
        try:
            listening, self._token = await asyncio.to_thread(self._files.listen)
        except OSError as error:
            log.warning("no local socket (%s): commands on this host will not find this worker", error.strerror)
            return
        server = await asyncio.start_server(self._on_connect, sock=listening, limit=LINE_MAX)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for caller in self._callers:
                caller.cancel()
            self._files.remove()

    async def _on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._callers.add(task)
        try:
            async with asyncio.timeout(_REQUEST_S):
                line = await reader.readline()
            await self._answer(line, reader, writer)
        except (OSError, ValueError, TimeoutError) as error:
            log.debug("connection of a command on this host broke: %s", error)
        except asyncio.CancelledError:
            # The agent ends. A caller that waits for the stop takes the end of the connection as the answer.
            log.debug("the agent ends: connection of a command on this host closed")
        finally:
            self._callers.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = Request.model_validate_json(line)
        except ValidationError:
            await _send(writer, Answer(final=True, reached=False, problem="the request could not be read"))
            return
        if self._token is not None and not hmac.compare_digest(request.token or "", self._token):
            await _send(writer, Answer(final=True, reached=False, problem="the secret of the request is wrong"))
            return
        if request.command == "maintenance":
            log.info("maintenance %s, requested on this host", "on" if request.on else "off")
            try:
                await self._worker.request_maintenance(on=request.on, comment=request.comment)
            except StateFolderError as error:
                await _send(writer, Answer(final=True, reached=False, problem=str(error)))
                return
        elif request.command == "stop":
            self._worker.request_stop()
        if request.wait:
            await self._stream(request, reader, writer)
        else:
            await _send(writer, Answer(status=self._worker.status(), final=True))

    async def _stream(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent: tuple[object, ...] = ()
        while not reader.at_eof():
            status = self._worker.status()
            last = verdict(request, status)
            if last is not None:
                await _send(writer, last)
                return
            news = (status.state, status.job_count, status.connected)
            if news != sent:
                sent = news
                await _send(writer, Answer(status=status))
            await asyncio.sleep(_LOOK_S)


async def _send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    writer.write(answer.model_dump_json().encode() + b"\n")
    async with asyncio.timeout(_REQUEST_S):
        await writer.drain()
