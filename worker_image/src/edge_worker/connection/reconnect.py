"""Staying connected: which transport, how long to wait between attempts, and when to give up.

A WebSocket is preferred. Where a proxy refuses the upgrade, or lets it pass and then breaks it, long polling takes
over, and a WebSocket is tried again from time to time, since proxies change. While nothing answers at all, the choice
of the transport does not change.
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Literal

import aiohttp

from edge_protocol.frames import Frame, Welcome
from edge_worker.backoff import Backoff
from edge_worker.connection.session import Peer, Session, SessionOverError
from edge_worker.connection.transports import (
    LongPollTransport,
    Transport,
    TransportError,
    UnauthorisedError,
    UpgradeRefusedError,
    open_websocket,
)
from edge_worker.errors import CredentialRefusedError, WorkerError, WorkerRefusedError

log = logging.getLogger(__name__)

Kind = Literal["websocket", "sync"]

HEALTHY_S = 5.0
"""Minimum lifetime of a healthy session: one that breaks later starts the backoff over."""
BUSY_LONGEST_S = 5.0
"""Longest delay while tasks run: their jobs are lost after 30 s of silence, and most of that belongs to the outage."""
RETRY_WEBSOCKET_S = 600.0
"""Seconds of long polling before the WebSocket is tried again."""
EARLY_DEATHS = 3
"""WebSockets in a row that broke before or right after the welcome; from then on they count as broken by a proxy."""
_CLOSE_S = 8.0


class Connection:
    """Keeps one session at a time with the edge API."""

    def __init__(self, client: aiohttp.ClientSession, api_url: str, choice: "TransportChoice") -> None:
        self._client = client
        self._api_url = api_url
        self._choice = choice
        self._backoff = Backoff()
        self._finishing = False
        self._opened = False
        self._session: Session | None = None

    @property
    def welcome(self) -> Welcome | None:
        """The welcome of the current session; None while the edge API does not serve this worker."""
        return self._session.welcome if self._session is not None else None

    @property
    def transport_name(self) -> str | None:
        """The transport of the current session, if there is one."""
        return self._session.transport.name if self._session is not None else None

    async def keep(self, peer: Peer) -> None:
        """Connect and reconnect until `finish`.

        Raises:
            CredentialRefusedError: the credential is expired or revoked, and no task runs.
            WorkerRefusedError: the edge API does not accept this worker, and no task runs.

        """
        while not self._finishing:
            kind = self._choice.next(time.monotonic())
            started = time.monotonic()
            self._opened = False
            try:
                await self._serve(kind, peer)
            except SessionOverError:
                return
            except UpgradeRefusedError as error:
                log.warning("%s; using long polling instead", error)
                self._choice.upgrade_refused(time.monotonic())
                # Without a delay if that changes the transport: the edge API itself is not the cause.
                if self._choice.next(time.monotonic()) != kind:
                    continue
            except (UnauthorisedError, WorkerRefusedError) as error:
                refusal = _refusal(error)
                if not peer.busy():
                    raise refusal from error
                log.error("%s; tasks still run, so this is tried again", refusal)  # noqa: TRY400 - the cause adds nothing
            except TransportError as error:
                log.warning("%s", error)
                self._on_broken(kind, time.monotonic() - started)
            finally:
                self._session = None
                for participant in peer.participants:
                    participant.on_disconnect()
            await asyncio.sleep(self._backoff.next_delay(BUSY_LONGEST_S if peer.busy() else float("inf")))

    async def _serve(self, kind: Kind, peer: Peer) -> None:
        """Connect once and serve the session to its end."""
        transport: Transport
        if kind == "websocket":
            transport = await open_websocket(self._client, self._api_url)
        else:
            transport = LongPollTransport(self._client, self._api_url)
        self._opened = True
        self._session = Session(transport, peer)
        limit = self._choice.session_limit(time.monotonic()) if kind == "sync" else None
        try:
            async with asyncio.timeout(limit):
                await self._session.run()
        except TimeoutError:
            log.info("ending the long poll to try a WebSocket again")
            self._backoff.reset()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await transport.close()

    def _on_broken(self, kind: Kind, lasted_s: float) -> None:
        if lasted_s >= HEALTHY_S:
            self._backoff.reset()
            self._choice.worked(kind)
        elif kind == "sync":
            self._choice.sync_failed()
        elif self._opened:
            self._choice.died_early(time.monotonic())

    def send(self, frame: Frame) -> None:
        """Send a control frame; dropped without a session, since its participant repeats it at the next welcome."""
        if self._session is not None:
            self._session.send(frame)

    def beat_now(self) -> None:
        """Send a heartbeat now, if connected."""
        if self._session is not None:
            self._session.beat_now()

    def wake(self) -> None:
        """Have the session check whether a log has something to send."""
        if self._session is not None:
            self._session.wake()

    def finish(self, *, bye: bool) -> bool:
        """End the session once the queued control frames are sent, and do not reconnect; False: there is no session."""
        self._finishing = True
        if self._session is None:
            return False
        self._session.finish(bye=bye)
        return True


class TransportChoice:
    """Decides between the transports: pure. Times are seconds of one monotonic clock."""

    def __init__(self, setting: Literal["auto", "websocket", "sync"]) -> None:
        self._setting = setting
        self._fallen_back_at: float | None = None
        self._early_deaths = 0

    def next(self, now: float) -> Kind:
        """Return the transport for the next connection."""
        if self._setting != "auto":
            return self._setting
        if self._fallen_back_at is None or now - self._fallen_back_at >= RETRY_WEBSOCKET_S:
            return "websocket"
        return "sync"

    def session_limit(self, now: float) -> float | None:
        """Return after how many seconds a long-poll session ends to try a WebSocket again; None: never."""
        if self._setting != "auto" or self._fallen_back_at is None:
            return None
        return max(0.0, self._fallen_back_at + RETRY_WEBSOCKET_S - now)

    def upgrade_refused(self, now: float) -> None:
        """Note that a WebSocket could not be opened although something answered."""
        self._fallen_back_at = now
        self._early_deaths = 0

    def died_early(self, now: float) -> None:
        """Note that a WebSocket was opened and broke at once."""
        self._early_deaths += 1
        if self._early_deaths >= EARLY_DEATHS:
            self.upgrade_refused(now)

    def worked(self, kind: Kind) -> None:
        """Note that a session was healthy."""
        if kind == "websocket":
            self._fallen_back_at = None
            self._early_deaths = 0

    def sync_failed(self) -> None:
        """Note that long polling does not work either: the WebSocket is not the cause."""
        self._fallen_back_at = None


def _refusal(error: Exception) -> WorkerError:
    if isinstance(error, WorkerRefusedError):
        return error
    return CredentialRefusedError(
        f"{str(error).rstrip('.')}; enrol this worker again with a new join token: edge-worker enroll"
    )
