"""The process: sockets, signals, services, and a stop that sends the workers elsewhere."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import uvicorn
from fastapi import FastAPI

from edge_api.app import make_app, make_site_app
from edge_api.errors import EdgeApiError
from edge_api.http.guard import patient_protocol
from edge_api.runtime import Runtime
from edge_api.settings import ApiSettings
from edge_protocol.limits import FRAME_MAX_BYTES

STOP_TIMEOUT_S: Final = 5
BACKLOG: Final = 2048
PING_INTERVAL_S: Final = 20.0

log = logging.getLogger(__name__)


class AddressError(EdgeApiError):
    """The address to listen on can't be used."""


class CertificateError(EdgeApiError):
    """The TLS certificate or its key can't be used."""


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handling: the process decides when it stops."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


@dataclass(frozen=True, slots=True)
class Listeners:
    """The listening sockets. The site port is a socket of its own, so that nothing that a client sends can choose."""

    main: socket.socket
    site: socket.socket | None

    def __enter__(self) -> Self:
        """Nothing is left to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self.main.close()
        if self.site is not None:
            self.site.close()


def listen(settings: ApiSettings) -> Listeners:
    """Return the listening sockets.

    Raises:
        AddressError: an address is in use, or not this machine's.

    """
    main = _listen(settings.host, settings.port, "Choose another address with --host and --port.")
    if settings.site_port is None:
        return Listeners(main, None)
    try:
        return Listeners(main, _listen(settings.host, settings.site_port, "Choose another EDGE_API_SITE_PORT."))
    except AddressError:
        main.close()
        raise


def _listen(host: str, port: int, how_to_fix: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise AddressError(f"Can't listen on {host}:{port} ({error.strerror or error}). {how_to_fix}") from error


def check_tls(settings: ApiSettings) -> None:
    """Check that the certificate and key, if set, can be used.

    Raises:
        CertificateError: they can't.

    """
    if settings.tls_certificate is None and settings.tls_key is None:
        return
    if settings.tls_certificate is None:
        raise CertificateError("EDGE_API_TLS_KEY is set without EDGE_API_TLS_CERTIFICATE. Set both or none.")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:
        raise CertificateError(
            f"The TLS certificate {settings.tls_certificate} or its key can't be used ({error.strerror or error}). "
            "Give PEM files with EDGE_API_TLS_CERTIFICATE and EDGE_API_TLS_KEY."
        ) from error


async def serve(settings: ApiSettings, listeners: Listeners) -> None:
    """Run until SIGTERM or SIGINT; an error of any service ends the process."""
    runtime = Runtime(settings)
    servers = {"http": (_Server(_config(settings, runtime, make_app(runtime))), listeners.main)}
    if listeners.site is not None:
        servers["http-sites"] = (_Server(_config(settings, runtime, make_site_app(runtime))), listeners.site)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with asyncio.TaskGroup() as group:
            services = runtime.start(group)
            web = [
                group.create_task(server.serve(sockets=[listener]), name=name)
                for name, (server, listener) in servers.items()
            ]
            log.info("edge API listens", extra=_addresses(listeners))
            stopping = group.create_task(stop.wait(), name="stop")
            await asyncio.wait({stopping, *web}, return_when=asyncio.FIRST_COMPLETED)
            log.info("edge API stops", extra={"sessions": len(runtime.registry)})
            await runtime.drain()
            for server, _ in servers.values():
                server.should_exit = True
            await asyncio.gather(*web)
            stop.set()
            for service in services:
                service.cancel()
        log.info("edge API has stopped")
    finally:
        await runtime.close()


def _addresses(listeners: Listeners) -> dict[str, str | int]:
    host, port = listeners.main.getsockname()[:2]
    site = {} if listeners.site is None else {"site_port": listeners.site.getsockname()[1]}
    return {"host": host, "port": port, **site}


def _config(settings: ApiSettings, runtime: Runtime, app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=patient_protocol(runtime.refusals.note),
        ws="websockets-sansio",
        ws_max_size=FRAME_MAX_BYTES,
        ws_ping_interval=PING_INTERVAL_S,
        ws_ping_timeout=PING_INTERVAL_S,
        # Frames are small; compressing them costs more than it saves, and 300 KB of memory per worker.
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        proxy_headers=True,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )
