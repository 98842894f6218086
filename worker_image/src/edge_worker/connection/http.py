"""HTTP to the edge API: one client session with the worker's trusted CAs, proxy and credential.

Secrets go to the edge API at the URL of the settings and nowhere else: redirects of a POST are not followed,
`~/.netrc` is not read, and plain HTTP must be allowed.
"""

import ssl
import urllib.request
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from pydantic import ValidationError

from edge_protocol.rest import Problem
from edge_worker import __version__
from edge_worker.errors import ConfigError
from edge_worker.settings import WorkerSettings

PROBLEM_TYPE = "application/problem+json"
CONNECT_TIMEOUT_S = 15.0
CONNECTIONS_MOST = 64
"""The session's own few, and those of tasks that call Airflow at the same time."""
_BODY_MAX = 64 << 10


def _tls_context(ca_bundle: Path | None) -> ssl.SSLContext | bool:
    """Return the CAs to trust: the system's, or those of a bundle.

    Raises:
        ConfigError: the bundle cannot be read.

    """
    if ca_bundle is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"CA bundle {ca_bundle} cannot be read ({error.strerror or 'not PEM'}); "
            "set EDGE_WORKER_CA_BUNDLE to a PEM file"
        ) from error


def client_session(settings: WorkerSettings, api_url: str, credential: str | None = None) -> aiohttp.ClientSession:
    """Return a client for `api_url` that honours HTTPS_PROXY and NO_PROXY and sends `credential` with every call.

    Raises:
        ConfigError: the CA bundle cannot be read, or the URL is plain HTTP to another host and that is not allowed.

    """
    if not settings.allow_plain_http and _is_plain_http(api_url):
        raise ConfigError(
            f"{api_url} is plain HTTP: whoever is on the way can read the worker's credential and every task; use "
            "https://, or set EDGE_WORKER_ALLOW_PLAIN_HTTP=true where the network itself is protected"
        )
    headers = {"User-Agent": f"edge-worker/{__version__}"}
    if credential is not None:
        headers["Authorization"] = f"Bearer {credential}"
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_tls_context(settings.ca_bundle), limit=CONNECTIONS_MOST),
        headers=headers,
        # Not by `trust_env`, which also reads ~/.netrc and then has two credentials for one call.
        proxy=_proxy(api_url),
        timeout=aiohttp.ClientTimeout(total=30, connect=CONNECT_TIMEOUT_S),
    )


def _is_plain_http(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return parts.scheme == "http" and not loopback


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment sets for a URL."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return urllib.request.getproxies().get(parts.scheme)


async def read_problem(response: aiohttp.ClientResponse) -> Problem | None:
    """Return the error that the edge API itself wrote, or None where something else answered."""
    if response.content_type != PROBLEM_TYPE:
        return None
    try:
        return Problem.model_validate_json(await response.content.read(_BODY_MAX))
    except (TimeoutError, ValidationError, aiohttp.ClientError):
        return None


def reason(error: BaseException) -> str:
    """Return why a connection failed, briefly and without the parts of a URL that may be secret."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return "its TLS certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    return str(error) or type(error).__name__
