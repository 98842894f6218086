"""Which worker calls: credentials, with a short-lived cache and a brake on failures.

The cache spares the database when a fleet reconnects. An entry lives for at most 30 s, and is dropped at once when a
hint says that its credential has changed. Failed calls that would cost a look-up are limited per client address, so
that guessing can't load the database; a cached credential is served whatever others at its address do.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from edge_api.database.pool import Database
from edge_api.errors import RefusedError
from edge_api.identity import tokens
from edge_api.identity.refusals import Refusals
from edge_api.metrics import Metrics
from edge_store.identity import credentials

CACHE_S: Final = 30.0
CACHE_MOST: Final = 20_000
FAILURES_BURST: Final = 50.0
FAILURES_PER_S: Final = 5.0
ADDRESSES_MOST: Final = 10_000

_HOW_TO_FIX: Final = "Enrol the worker again: edge-worker enroll, with a join token from `edge-api token create`."


@dataclass(frozen=True, slots=True)
class Principal:
    """A worker, as its credential proves it."""

    credential_id: UUID
    worker: str
    identity: UUID
    team: str | None
    queues: tuple[str, ...] | None
    """Queues granted; None: any."""
    expires_at: datetime
    connections: tuple[str, ...] | None = None
    """Connections that its tasks may use: names, or prefixes and a star; None: any."""
    variables: tuple[str, ...] | None = None
    """Variables, in the same way."""

    @property
    def expired(self) -> bool:
        """Whether the credential has expired."""
        return self.expires_at <= datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Grant:
    """The parts of a credential that may change during a session: its queues (None: any) and its expiry."""

    queues: tuple[str, ...] | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Cached:
    digest: bytes
    principal: Principal
    until: float


class FailureBrake:
    """Token buckets per client address; only failures take from them. Times in seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def exhausted(self, address: str, now: float) -> bool:
        """Return whether an address has failed too often recently."""
        return self._level(address, now) < 1

    def failed(self, address: str, now: float) -> None:
        """Note a failure."""
        self._buckets[address] = (max(0.0, self._level(address, now) - 1), now)
        self._buckets.move_to_end(address)
        while len(self._buckets) > ADDRESSES_MOST:
            self._buckets.popitem(last=False)

    def _level(self, address: str, now: float) -> float:
        level, at = self._buckets.get(address, (FAILURES_BURST, now))
        return min(FAILURES_BURST, level + (now - at) * FAILURES_PER_S)


class Authenticator:
    """Finds the worker behind an `Authorization` header."""

    def __init__(self, database: Database, metrics: Metrics, refusals: Refusals) -> None:
        self._database = database
        self._metrics = metrics
        self._refusals = refusals
        self._cache: OrderedDict[UUID, _Cached] = OrderedDict()
        self._drops = 0
        self._brake = FailureBrake()

    async def worker(self, authorization: str | None, address: str) -> Principal:
        """Return the worker that calls.

        Raises:
            RefusedError: no valid credential (401); too many failures from this address (429).
            DatabaseAwayError: it can't be looked up now.

        """
        try:
            return await self._find(authorization, address)
        except RefusedError as refusal:
            self._refusals.note(address, refusal.code, authorization, "call of a worker")
            if refusal.status == 401:
                self.note_failure(address)
            raise

    def note_failure(self, address: str) -> None:
        """Count a call without a valid credential or token."""
        self._metrics.failed_authentications.inc()
        self._brake.failed(address, time.monotonic())

    async def _find(self, authorization: str | None, address: str) -> Principal:
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise RefusedError(401, "credential_missing", f"The call carries no worker credential. {_HOW_TO_FIX}")
        token = tokens.parse(text.strip(), tokens.CREDENTIAL)
        if token is None:
            raise RefusedError(401, "credential_invalid", f"This is not a worker credential. {_HOW_TO_FIX}")
        now = time.monotonic()
        cached = self._cache.get(token.id)
        if cached is not None and cached.until > now and not cached.principal.expired and token.matches(cached.digest):
            return cached.principal
        self.check_brake(address)
        return await self._look_up(token, now)

    def check_brake(self, address: str) -> None:
        """Refuse an address that has failed too often recently.

        Raises:
            RefusedError: it has (429).

        """
        if self._brake.exhausted(address, time.monotonic()):
            raise RefusedError(
                429, "too_many_failures", "Too many calls from this address failed to authenticate. Wait a few seconds."
            )

    async def _look_up(self, token: tokens.Token, now: float) -> Principal:
        drops = self._drops
        row = await self._database.first(credentials.get_credential(token.id))
        if row is None or not token.matches(row.secret_hash):
            raise RefusedError(401, "credential_unknown", f"The worker credential is not known here. {_HOW_TO_FIX}")
        if row.revoked_at is not None:
            raise RefusedError(401, "credential_revoked", f"The worker credential was revoked. {_HOW_TO_FIX}")
        # By a constraint of the table the role and the two columns go together.
        if row.role != "worker" or row.worker_name is None or row.identity is None:
            raise RefusedError(
                403, "wrong_role", "This credential is not a worker's. Use the one that edge-worker enroll has stored."
            )
        principal = Principal(
            credential_id=row.id,
            worker=row.worker_name,
            identity=row.identity,
            team=row.team,
            queues=None if row.queues is None else tuple(row.queues),
            expires_at=row.expires_at,
            connections=None if row.connections is None else tuple(row.connections),
            variables=None if row.variables is None else tuple(row.variables),
        )
        if principal.expired:
            raise _expired(row)
        # A credential dropped while the row was being read may be this very one.
        if drops == self._drops:
            self._cache[token.id] = _Cached(row.secret_hash, principal, now + CACHE_S)
            while len(self._cache) > CACHE_MOST:
                self._cache.popitem(last=False)
        return principal

    def drop(self, credential_id: UUID | None = None) -> None:
        """Forget one credential, or all, since it may have changed."""
        self._drops += 1
        if credential_id is None:
            self._cache.clear()
        else:
            self._cache.pop(credential_id, None)

    async def still_valid(self, credential_ids: Sequence[UUID]) -> dict[UUID, Grant]:
        """Return which credentials are neither revoked nor expired, and what they grant now."""
        rows = await self._database.rows(credentials.still_valid(credential_ids))
        return {row.id: Grant(None if row.queues is None else tuple(row.queues), row.expires_at) for row in rows}


def _expired(row: credentials.CredentialSecret) -> RefusedError:
    if row.rotated_to is not None:
        return RefusedError(
            401, "credential_rotated", f"The worker credential was rotated; use its successor. {_HOW_TO_FIX}"
        )
    return RefusedError(401, "credential_expired", f"The worker credential has expired. {_HOW_TO_FIX}")
