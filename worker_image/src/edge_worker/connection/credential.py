"""The worker's credential: stored in the state folder, and replaced long before it expires, while it is still valid.

A refused rotation is not fatal here: if the credential has become invalid, the next connection is refused.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

import aiohttp
from pydantic import BaseModel, Field, ValidationError

from edge_protocol.rest import ROTATE_PATH, EnrollResponse, RotateResponse
from edge_worker.backoff import Backoff
from edge_worker.connection.http import read_problem, reason
from edge_worker.errors import StateFolderError
from edge_worker.host.files import read_json, write_json
from edge_worker.host.state import StateFolder, state_folder_error

log = logging.getLogger(__name__)

ROTATE_AT = 0.75
"""Share of its lifetime after which a credential is replaced."""


class StoredCredential(BaseModel):
    """The credential as enrolment or rotation stored it; only its owner can read the file."""

    worker: str
    credential: str = Field(repr=False)
    credential_id: str
    expires_at: datetime
    api_url: str
    team: str | None = None
    queues: list[str] | None = None
    """Granted queues; None: any queue."""
    received_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """Start of its lifetime, which ends at `expires_at`."""

    @classmethod
    def from_answer(cls, answer: EnrollResponse, api_url: str) -> Self:
        """Return what to store of an answer of the edge API."""
        return cls(
            worker=answer.worker,
            credential=answer.credential,
            credential_id=str(answer.credential_id),
            expires_at=answer.expires_at,
            api_url=api_url,
            team=answer.team,
            queues=answer.queues,
        )

    @classmethod
    def read(cls, state: StateFolder) -> Self | None:
        """Return the stored credential, or None before the worker has enrolled.

        Raises:
            StateFolderError: the file exists but cannot be used.

        """
        path = state.credential
        try:
            content = read_json(path)
            if content is None and not path.exists():
                return None
            return cls.model_validate(content)
        except (OSError, ValidationError) as error:
            # The validation error would show the credential: only the path is named.
            raise StateFolderError(f"{path} cannot be read; delete it and run: edge-worker enroll") from error

    def write(self, state: StateFolder) -> None:
        """Store the credential durably.

        Raises:
            StateFolderError: it cannot be written.

        """
        try:
            write_json(state.credential, self.model_dump(mode="json"), durable=True)
        except OSError as error:
            raise state_folder_error(state.root, error) from error


class RotationError(Exception):
    """No successor was issued."""


class CredentialRotation:
    """Replaces the stored credential, and the one that the client sends, before it expires."""

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
        """The current credential."""
        return self._credential

    def due_in(self) -> float:
        """Return the seconds until the credential should be replaced."""
        lifetime = self._credential.expires_at - self._credential.received_at
        return (self._credential.received_at + ROTATE_AT * lifetime - self._now()).total_seconds()

    async def keep_fresh(self) -> None:
        """Replace the credential whenever it is due, until cancelled."""
        backoff = Backoff(first_s=30, longest_s=1800)
        while True:
            # In steps of at most an hour, so that a host that slept, or whose clock was set, notices in time.
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
        """Request the credential's successor, store it, and send it from now on.

        Raises:
            RotationError: the edge API issued none.
            StateFolderError: the successor cannot be stored.

        """
        try:
            async with self._client.post(self._api_url + ROTATE_PATH, allow_redirects=False) as response:
                if response.status not in (200, 201):
                    problem = await read_problem(response)
                    raise RotationError(problem.detail if problem else f"HTTP status {response.status}")
                answer = RotateResponse.model_validate_json(await response.read())
        except ValidationError as error:
            raise RotationError("something that is not the edge API answered") from error
        except (aiohttp.ClientError, OSError) as error:
            raise RotationError(reason(error)) from error
        successor = StoredCredential.from_answer(answer, self._credential.api_url)
        await asyncio.to_thread(successor.write, self._state)
        self._credential = successor
        self._client.headers["Authorization"] = f"Bearer {successor.credential}"
        log.info("the credential was replaced; the new one is valid until %s", answer.expires_at.isoformat())
