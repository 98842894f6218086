"""One connection to the edge API, from `hello` until it breaks: reading, sending in the right order, heartbeats.

Control frames always go before logs: whatever waits in the outbox is sent before the next piece of a log is read.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from edge_protocol.frames import (
    Accept,
    Bye,
    Error,
    Frame,
    FrameError,
    Heartbeat,
    Hello,
    Log,
    Maintenance,
    Report,
    ServerFrame,
    Welcome,
    parse_server_frame,
)
from edge_worker.connection.transports import Transport, TransportError, UnauthorisedError
from edge_worker.errors import WorkerRefusedError

log = logging.getLogger(__name__)

WELCOME_TIMEOUT_S = 20.0
BYE_TIMEOUT_S = 4.0
"""Seconds for the edge API to settle a good-bye and close the connection."""
_NOT_TAKEN = frozenset({"protocol_mismatch", "wrong_worker", "name_taken", "bad_hello"})
"""Codes of fatal errors that another attempt would only meet again."""
_LOG_FRAMES_PER_CALL = {"websocket": 1, "sync": 8}


class SessionOverError(Exception):
    """The session ended as planned."""


class Peer(Protocol):
    """The worker behind a session."""

    wake: asyncio.Event
    """Set when there may be something to send."""

    def hello(self) -> Hello:
        """Return the first frame."""

    def on_welcome(self, welcome: Welcome) -> None:
        """Take note that the session is on."""

    def on_frame(self, frame: ServerFrame) -> None:
        """Act on a frame that came in."""

    def heartbeat(self) -> Heartbeat:
        """Return a sign of life."""

    def take_control(self) -> Sequence[Accept | Report | Maintenance]:
        """Return, and forget, the control frames to send."""

    async def next_log(self, welcome: Welcome) -> Log | None:
        """Return the next piece of log that may be sent."""


class Session:
    """One connection."""

    def __init__(self, transport: Transport, peer: Peer) -> None:
        self._transport = transport
        self._peer = peer
        self._heartbeat_due = False
        self._finishing = False
        self._bye = False
        self._closed = asyncio.Event()
        self.welcomed = False
        """Whether the edge API has taken the session."""

    @property
    def transport_name(self) -> str:
        """Return which transport carries the session."""
        return self._transport.name

    async def run(self) -> None:
        """Serve until the connection ends.

        Raises:
            SessionOverError: `finish` was called.
            TransportError: the connection broke, or the edge API ended the session.
            WorkerRefusedError: the edge API does not take this worker.

        """
        await self._transport.send([self._peer.hello().model_dump_json()])
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                welcome, early = await self._welcome()
        except TimeoutError as error:
            raise TransportError(f"no welcome within {WELCOME_TIMEOUT_S:.0f} s") from error
        self.welcomed = True
        self._peer.on_welcome(welcome)
        for text in early:
            self._take(text)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(), name="session reader")
                group.create_task(self._send(welcome), name="session sender")
                group.create_task(self._beat(welcome.heartbeat_interval_s), name="session heartbeat")
        except BaseExceptionGroup as failed:
            raise _main_cause(failed) from None

    def beat_now(self) -> None:
        """Send a heartbeat at once: something that people or the dispatcher watch has changed."""
        self._heartbeat_due = True
        self._peer.wake.set()

    def finish(self, *, bye: bool) -> None:
        """End the session after what waits now has been sent; `bye` says that no lease is held any more."""
        self._finishing = True
        self._bye = bye
        self._peer.wake.set()

    async def _welcome(self) -> tuple[Welcome, list[str]]:
        while True:
            texts = await self._transport.receive()
            for index, text in enumerate(texts):
                frame = _parse(text)
                if isinstance(frame, Welcome):
                    return frame, texts[index + 1 :]
                if isinstance(frame, Error):
                    raise _refusal(frame)

    async def _read(self) -> None:
        try:
            while True:
                for text in await self._transport.receive():
                    self._take(text)
        except TransportError:
            if not self._bye:
                raise
            self._closed.set()

    def _take(self, text: str) -> None:
        frame = _parse(text)
        if isinstance(frame, Error):
            if frame.fatal:
                raise _refusal(frame)
            log.warning("the edge API complains: %s (%s)", frame.message, frame.code)
        elif frame is not None:
            self._peer.on_frame(frame)
            self._peer.wake.set()

    async def _send(self, welcome: Welcome) -> None:
        limit = _LOG_FRAMES_PER_CALL[self._transport.name]
        while True:
            self._peer.wake.clear()
            if control := self._control():
                await self._transport.send(control)
                continue
            if self._finishing:
                if self._bye:
                    await self._say_bye()
                raise SessionOverError
            logs: list[str] = []
            while len(logs) < limit and (frame := await self._peer.next_log(welcome)) is not None:
                logs.append(frame.model_dump_json())
            if logs:
                await self._transport.send(logs)
            else:
                await self._peer.wake.wait()

    async def _say_bye(self) -> None:
        await self._transport.send([Bye().model_dump_json()])
        if self._transport.sends_are_confirmed:
            return
        # A connection that is closed with something unread is reset, and takes along what the other side has not read.
        with suppress(TimeoutError):
            async with asyncio.timeout(BYE_TIMEOUT_S):
                await self._closed.wait()

    def _control(self) -> list[str]:
        frames: list[Frame] = []
        if self._heartbeat_due:
            self._heartbeat_due = False
            frames.append(self._peer.heartbeat())
        frames += self._peer.take_control()
        return [frame.model_dump_json() for frame in frames]

    async def _beat(self, interval_s: float) -> None:
        while True:
            self.beat_now()
            await asyncio.sleep(interval_s)


def _parse(text: str) -> ServerFrame | None:
    try:
        return parse_server_frame(text)
    except FrameError as error:
        log.warning("a frame of the edge API could not be read: %s", error)
        return None


def _refusal(frame: Error) -> Exception:
    if frame.code in _NOT_TAKEN:
        return WorkerRefusedError(frame.message)
    if frame.code.startswith("credential_"):
        return UnauthorisedError(frame.message)
    return TransportError(f"the edge API ended the session: {frame.message} ({frame.code})")


def _main_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error that says most: a defect before a broken connection before a planned end."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending += error.exceptions
        else:
            leaves.append(error)
    return min(leaves, key=lambda error: (isinstance(error, SessionOverError), isinstance(error, TransportError)))
