"""One connection to the edge API, from `hello` until it breaks: receiving, sending in the right order, heartbeats.

Control frames always go before logs: the queue of control frames is emptied before the next piece of a log is read.
Nothing is queued while no session is open. At the welcome each participant returns all frames that are not acknowledged
yet, including those it produced while there was no session.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from edge_protocol.frames import (
    Bye,
    Error,
    Frame,
    FrameError,
    Heartbeat,
    Hello,
    Log,
    ServerFrame,
    Welcome,
    parse_server_frame,
)
from edge_worker.connection.transports import Transport, TransportError, UnauthorisedError
from edge_worker.errors import WorkerRefusedError

log = logging.getLogger(__name__)

WELCOME_TIMEOUT_S = 20.0
BYE_TIMEOUT_S = 4.0
"""Seconds for the edge API to process a `bye` and close the connection."""
_REFUSALS = frozenset({"protocol_mismatch", "wrong_worker", "name_taken", "bad_hello", "bad_tolerance"})
"""Codes of fatal errors that would meet every further attempt too."""


class SessionOverError(Exception):
    """The session ended as planned."""


class Participant(Protocol):
    """A part of the worker that sends control frames and acts on frames of the edge API."""

    def on_welcome(self, welcome: Welcome) -> Iterable[Frame]:
        """Return the frames that the edge API has not acknowledged: they are sent in the new session."""

    def on_frame(self, frame: ServerFrame) -> None:
        """Act on a frame, if it is for this participant."""

    def on_disconnect(self) -> None:
        """Note that no session is open any more."""


@dataclass(frozen=True)
class Peer:
    """The worker behind a session."""

    hello: Callable[[], Hello]
    heartbeat: Callable[[], Heartbeat]
    next_log: Callable[[int, int], Awaitable[Log | None]]
    """Return the next piece of log to send, given the chunk size and the window of unacknowledged bytes."""
    busy: Callable[[], bool]
    """Whether tasks run: then the worker keeps trying even if the edge API refuses it."""
    participants: Sequence[Participant]


class Session:
    """One connection."""

    def __init__(self, transport: Transport, peer: Peer) -> None:
        self.transport = transport
        self.welcome: Welcome | None = None
        """The edge API's answer to `hello`; None before it came."""
        self._peer = peer
        self._control: list[Frame] = []
        self._heartbeat_due = False
        self._finishing = False
        self._bye = False
        self._closed = asyncio.Event()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Serve until the connection ends.

        Raises:
            SessionOverError: `finish` was called.
            TransportError: the connection broke, or the edge API ended the session.
            WorkerRefusedError: the edge API does not accept this worker.

        """
        await self.transport.send([self._peer.hello().model_dump_json()])
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                welcome, early = await self._wait_for_welcome()
        except TimeoutError as error:
            raise TransportError(f"no welcome within {WELCOME_TIMEOUT_S:.0f} s") from error
        self.welcome = welcome
        log.info("connected: session %s", welcome.session_id)
        for participant in self._peer.participants:
            self._control += participant.on_welcome(welcome)
        for text in early:
            self._on_text(text)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._receive(), name="session receiver")
                group.create_task(self._send(welcome), name="session sender")
                group.create_task(self._beat(welcome.heartbeat_interval_s), name="session heartbeat")
        except BaseExceptionGroup as failed:
            raise _main_cause(failed) from None

    def send(self, frame: Frame) -> None:
        """Send a control frame; dropped before the welcome, since participants repeat theirs then."""
        if self.welcome is not None:
            self._control.append(frame)
            self._wake.set()

    def beat_now(self) -> None:
        """Send a heartbeat now, after a change that people or the dispatcher wait for."""
        self._heartbeat_due = True
        self._wake.set()

    def wake(self) -> None:
        """Check whether a log has something to send."""
        self._wake.set()

    def finish(self, *, bye: bool) -> None:
        """End the session once the queued control frames are sent; `bye`: no lease is held any more."""
        self._finishing = True
        self._bye = bye
        self._wake.set()

    async def _wait_for_welcome(self) -> tuple[Welcome, list[str]]:
        while True:
            texts = await self.transport.receive()
            for index, text in enumerate(texts):
                frame = _parse(text)
                if isinstance(frame, Welcome):
                    return frame, texts[index + 1 :]
                if isinstance(frame, Error):
                    raise _refusal(frame)

    async def _receive(self) -> None:
        try:
            while True:
                for text in await self.transport.receive():
                    self._on_text(text)
        except TransportError:
            if not self._bye:
                raise
            self._closed.set()

    def _on_text(self, text: str) -> None:
        frame = _parse(text)
        if isinstance(frame, Error):
            if frame.fatal:
                raise _refusal(frame)
            log.warning("the edge API reports an error: %s (%s)", frame.message, frame.code)
        elif frame is not None:
            for participant in self._peer.participants:
                participant.on_frame(frame)
            # An acknowledgement may have made room for the next piece of a log.
            self._wake.set()

    async def _send(self, welcome: Welcome) -> None:
        while True:
            self._wake.clear()
            if control := self._take_control():
                await self.transport.send([frame.model_dump_json() for frame in control])
                continue
            if self._finishing:
                if self._bye:
                    await self._say_bye()
                raise SessionOverError
            logs: list[str] = []
            while len(logs) < self.transport.logs_per_send:
                frame = await self._peer.next_log(welcome.log_chunk_bytes, welcome.log_window_bytes)
                if frame is None:
                    break
                logs.append(frame.model_dump_json())
            if logs:
                await self.transport.send(logs)
            else:
                await self._wake.wait()

    def _take_control(self) -> list[Frame]:
        heartbeat = [self._peer.heartbeat()] if self._heartbeat_due else []
        self._heartbeat_due = False
        frames = [*heartbeat, *self._control]
        self._control.clear()
        return frames

    async def _say_bye(self) -> None:
        await self.transport.send([Bye().model_dump_json()])
        if self.transport.sends_are_confirmed:
            return
        # Closing a connection with unread data resets it, and the other side may lose what it has not read yet.
        with suppress(TimeoutError):
            async with asyncio.timeout(BYE_TIMEOUT_S):
                await self._closed.wait()

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
    if frame.code in _REFUSALS:
        return WorkerRefusedError(frame.message)
    if frame.code.startswith("credential_"):
        return UnauthorisedError(frame.message)
    return TransportError(f"the edge API ended the session: {frame.message} ({frame.code})")


def _main_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the most telling error: a defect before a broken connection before a planned end."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending += error.exceptions
        else:
            leaves.append(error)
    return min(leaves, key=lambda error: (isinstance(error, SessionOverError), isinstance(error, TransportError)))
