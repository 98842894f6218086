"""Enrolment: exchange a join token for this worker's own credential."""

import asyncio
import logging
import os
import sys
import time
from http import HTTPStatus
from pathlib import Path

import aiohttp
from pydantic import ValidationError

from edge_protocol.frames import PROTOCOL_MAX, PROTOCOL_MIN
from edge_protocol.rest import API_NAME, ENROLL_PATH, INFO_PATH, ApiInfo, EnrollRequest, EnrollResponse
from edge_worker.backoff import Backoff
from edge_worker.connection.credential import StoredCredential
from edge_worker.connection.http import client_session, read_problem, reason
from edge_worker.errors import ConfigError, NotReachedError, WorkerRefusedError
from edge_worker.settings import WorkerSettings

JOIN_TOKEN_ENV = "EDGE_WORKER_JOIN_TOKEN"  # noqa: S105 - the name of a variable, not a token
_TOKEN_MAX = 512
_LOCATION_MAX = 200
_REDIRECTS = range(300, 400)
PATIENCE_S = 60.0
"""Long enough for an edge API or a proxy that is being restarted. After it the worker exits with the reason, and its
service manager starts it again."""

log = logging.getLogger(__name__)


def read_join_token(file: str | Path | None, *, required: bool) -> str | None:
    """Return the join token from a file ('-': stdin) or the environment; never from the command line.

    Raises:
        ConfigError: a token is required and there is none, or it cannot be read.

    """
    try:
        if str(file) == "-":
            token = sys.stdin.readline()
        elif file is not None:
            token = Path(file).read_text(encoding="utf-8")
        else:
            token = os.environ.get(JOIN_TOKEN_ENV, "")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"join token file {file} cannot be read; give a readable --join-token-file") from error
    token = token.strip()
    if token and len(token) <= _TOKEN_MAX:
        return token
    if token or required:
        raise ConfigError(
            f"{'the join token is too long' if token else 'no join token'}; create one with 'edge-api token create' "
            f"and give it with --join-token-file FILE, --join-token-file - (stdin) or {JOIN_TOKEN_ENV}"
        )
    return None


async def enroll_patiently(settings: WorkerSettings, join_token: str) -> StoredCredential:
    """Enrol; retry for `PATIENCE_S` while the edge API is not reached. Raises the same errors as `enroll`."""
    backoff = Backoff()
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await enroll(settings, join_token)
        except NotReachedError as error:
            delay_s = backoff.next_delay()
            if time.monotonic() + delay_s > end:
                raise
            log.warning("%s; trying again", error)
        await asyncio.sleep(delay_s)


async def enroll(settings: WorkerSettings, join_token: str) -> StoredCredential:
    """Enrol and return the credential to store.

    Raises:
        ConfigError: the URL is not that of an edge API, or the edge API refuses the token or the name.
        NotReachedError: nothing answers there, or only with a temporary failure.
        WorkerRefusedError: the edge API speaks no protocol that this worker knows.

    """
    if settings.api_url is None:
        raise ConfigError("no API URL; give --api-url or set EDGE_WORKER_API_URL")
    async with client_session(settings, settings.api_url) as client:
        await _check_api(client, settings.api_url)
        request = EnrollRequest(join_token=join_token, worker=settings.name, queues=settings.queues)
        url = settings.api_url + ENROLL_PATH
        headers = {"Content-Type": "application/json"}
        try:
            async with client.post(
                url, data=request.model_dump_json(), headers=headers, allow_redirects=False
            ) as response:
                _check_status(settings.api_url, response)
                if response.status not in (200, 201):
                    problem = await read_problem(response)
                    detail = problem.detail if problem else f"HTTP status {response.status} from {settings.api_url}"
                    raise ConfigError(f"enrolment refused: {detail}")
                answer = EnrollResponse.model_validate_json(await response.read())
        except ValidationError as error:
            raise _not_the_api(settings.api_url) from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _not_reachable(settings.api_url, reason(error)) from error
    return StoredCredential.from_answer(answer, settings.api_url)


async def _check_api(client: aiohttp.ClientSession, api_url: str) -> None:
    """Check that an edge API with a common protocol answers at the URL. Raises the same errors as `enroll`."""
    try:
        async with client.get(api_url + INFO_PATH, allow_redirects=False) as response:
            _check_status(api_url, response)
            info = ApiInfo.model_validate_json(await response.content.read(64 << 10))
    except ValidationError as error:
        raise _not_the_api(api_url) from error
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise _not_reachable(api_url, reason(error)) from error
    if info.api != API_NAME:
        raise _not_the_api(api_url)
    if info.protocol_min > PROTOCOL_MAX or info.protocol_max < PROTOCOL_MIN:
        newer = "this worker" if info.protocol_min > PROTOCOL_MAX else "the edge API"
        raise WorkerRefusedError(
            f"{api_url} speaks protocol {info.protocol_min} to {info.protocol_max}, this worker {PROTOCOL_MIN} to "
            f"{PROTOCOL_MAX}; upgrade {newer}"
        )


def _not_the_api(api_url: str) -> ConfigError:
    return ConfigError(f"{api_url} is not an Airflow Edge API; give its base URL with --api-url (without /edge_worker)")


def _check_status(api_url: str, response: aiohttp.ClientResponse) -> None:
    """Refuse a redirect; treat "try again later", also from a proxy in between, as an edge API that was not reached."""
    if response.status in _REDIRECTS:
        # Not followed, since the join token would go wherever the answer says.
        target = response.headers.get("Location", "")[:_LOCATION_MAX]
        raise ConfigError(f"{api_url} redirects to {target!r}; give the edge API's own URL with --api-url")
    if response.status == HTTPStatus.TOO_MANY_REQUESTS or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _not_reachable(api_url, f"status {response.status}")


def _not_reachable(api_url: str, why: str) -> NotReachedError:
    return NotReachedError(
        f"cannot reach the edge API at {api_url}: {why}; check --api-url, HTTPS_PROXY and --ca-bundle"
    )
