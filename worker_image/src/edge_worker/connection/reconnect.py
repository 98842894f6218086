"""Staying connected: which transport, how long to wait, and when there is no use in trying any more."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

import aiohttp

from edge_worker.backoff import Backoff
from edge_worker.connection.choice import Kind, TransportChoice
from edge_worker.connection.longpoll import LongPollTransport
from edge_worker.connection.session import Peer, Session, SessionOverError
from edge_worker.connection.transports import Transport, TransportError, UnauthorisedError, UpgradeRefusedError
from edge_worker.connection.websocket import open_websocket
from edge_worker.errors import CredentialRefusedError, WorkerError, WorkerRefusedError

log = logging.getLogger(__name__)

SETTLED_S = 5.0
"""Seconds after which a session that breaks counts as one that had worked."""
_CLOSE_S = 8.0


class Connection:
    """Keeps one session at a time with the edge API."""

    def __init__(
        self, client: aiohttp.ClientSession, api_url: str, choice: TransportChoice, peer: Peer, busy: Callable[[], bool]
    ) -> None:
        """Set up. `busy`: whether tasks run, which are worth waiting for an edge API that refuses this worker."""
        self._client = client
        self._api_url = api_url
        self._choice = choice
        self._peer = peer
        self._busy = busy
        self._backoff = Backoff()
        self._finishing: bool | None = None
        self._opened = False
        self.session: Session | None = None
        """The session that is on, if one is."""

    @property
    def connected(self) -> bool:
        """Return whether the edge API serves this worker now."""
        return self.session is not None and self.session.welcomed

    @property
    def transport_name(self) -> str | None:
        """Return which transport carries the session, if one is on."""
        return self.session.transport_name if self.session is not None else None

    async def keep(self, on_lost: Callable[[], None]) -> None:
        """Connect again and again, until `finish`.

        Raises:
            CredentialRefusedError: the credential is not good, and no task runs.
            WorkerRefusedError: the edge API does not take this worker, and no task runs.

        """
        while self._finishing is None:
            kind = self._choice.next(time.monotonic())
            started = time.monotonic()
            self._opened = False
            try:
                await self._connect(kind)
            except SessionOverError:
                return
            except UpgradeRefusedError as error:
                log.warning("%s; using long polling instead", error)
                self._choice.upgrade_refused(time.monotonic())
                # At once with the other transport: this one is not to blame on the edge API.
                if self._choice.next(time.monotonic()) != kind:
                    continue
            except (UnauthorisedError, WorkerRefusedError) as error:
                self._on_refusal(error)
            except TransportError as error:
                log.warning("%s", error)
                self._on_broken(kind, time.monotonic() - started)
            finally:
                self.session = None
                on_lost()
            await asyncio.sleep(self._backoff.next_delay())

    def finish(self, *, bye: bool) -> None:
        """End the session once what waits has been sent, and do not connect again."""
        self._finishing = bye
        if self.session is not None:
            self.session.finish(bye=bye)

    def beat_now(self) -> None:
        """Send a heartbeat at once, if connected."""
        if self.session is not None:
            self.session.beat_now()

    async def _connect(self, kind: Kind) -> None:
        transport: Transport
        if kind == "websocket":
            transport = await open_websocket(self._client, self._api_url)
        else:
            transport = LongPollTransport(self._client, self._api_url)
        self._opened = True
        session = Session(transport, self._peer)
        limit = self._choice.session_limit(time.monotonic()) if kind == "sync" else None
        self.session = session
        try:
            async with asyncio.timeout(limit):
                await session.run()
        except TimeoutError:
            log.info("ending the long poll to try a WebSocket again")
            self._backoff.reset()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await transport.close()

    def _on_broken(self, kind: Kind, lasted_s: float) -> None:
        if lasted_s >= SETTLED_S:
            self._backoff.reset()
            self._choice.worked(kind)
        elif kind == "sync":
            self._choice.sync_failed()
        elif self._opened:
            self._choice.died_early(time.monotonic())

    def _on_refusal(self, error: Exception) -> None:
        refusal: WorkerError
        if isinstance(error, WorkerRefusedError):
            refusal = error
        else:
            refusal = CredentialRefusedError(
                f"{str(error).rstrip('.')}; enrol this worker again with a new join token: edge-worker enroll"
            )
        if not self._busy():
            raise refusal from error
        log.error("%s; tasks still run, so this is tried again", refusal)
