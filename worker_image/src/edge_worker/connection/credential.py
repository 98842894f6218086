"""A worker's credential is replaced long before it expires, while the old one is still good.

A refused rotation is not an error here: if the credential is not good any more the connection finds out, and says so.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import aiohttp
from pydantic import ValidationError

from edge_protocol.rest import ROTATE_PATH, RotateResponse
from edge_worker.backoff import Backoff
from edge_worker.connection.http import read_problem, reason
from edge_worker.errors import StateFolderError
from edge_worker.host.state import StateFolder, StoredCredential

log = logging.getLogger(__name__)

ROTATE_AT = 0.75
"""Share of its life after which a credential is replaced."""


class RotationError(Exception):
    """No successor was issued."""


class CredentialRotation:
    """Keeps the stored credential, and the client's, fresh."""

    def __init__(
        self,
        client: aiohttp.ClientSession,
        state: StateFolder,
        credential: StoredCredential,
        api_url: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._state = state
        self._credential = credential
        self._api_url = api_url
        self._now = now

    @property
    def credential(self) -> StoredCredential:
        """Return the credential that is shown now."""
        return self._credential

    def due_in(self) -> float:
        """Return the seconds until the credential should be replaced."""
        life = self._credential.expires_at - self._credential.received_at
        return (self._credential.received_at + ROTATE_AT * life - self._now()).total_seconds()

    async def keep_fresh(self) -> None:
        """Replace the credential whenever it is due, until cancelled."""
        backoff = Backoff(first_s=30, longest_s=1800)
        while True:
            # In steps of at most an hour: a host that slept, or whose clock was set, notices in time.
            await asyncio.sleep(min(max(0.0, self.due_in()), 3600))
            if self.due_in() > 0:
                continue
            try:
                await self.rotate()
                backoff.reset()
            except (RotationError, StateFolderError) as error:
                log.warning("the credential was not replaced: %s", error)
                await asyncio.sleep(1 + backoff.next_delay())

    async def rotate(self) -> None:
        """Trade the credential for its successor, store that, and show it from now on.

        Raises:
            RotationError: the edge API issued none.
            StateFolderError: the successor cannot be stored.

        """
        try:
            async with self._client.post(self._api_url + ROTATE_PATH) as response:
                if response.status not in (200, 201):
                    problem = await read_problem(response)
                    raise RotationError(problem.detail if problem else f"HTTP status {response.status}")
                answer = RotateResponse.model_validate_json(await response.read())
        except ValidationError as error:
            raise RotationError("something that is not the edge API answered") from error
        except (aiohttp.ClientError, OSError) as error:
            raise RotationError(reason(error)) from error
        successor = StoredCredential(
            worker=answer.worker,
            credential=answer.credential,
            credential_id=str(answer.credential_id),
            expires_at=answer.expires_at,
            api_url=self._credential.api_url,
            team=answer.team,
            queues=answer.queues,
        )
        await asyncio.to_thread(self._state.write_credential, successor)
        self._credential = successor
        self._client.headers["Authorization"] = f"Bearer {successor.credential}"
        log.info("the credential was replaced; the new one is good until %s", answer.expires_at.isoformat())
