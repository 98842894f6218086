"""Who calls the admin API, and what the role allows.

Each call looks its credential up: administrators are few, and a revocation counts at once.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from edge_api.database.pool import Database
from edge_api.errors import RefusedError
from edge_api.identity import tokens
from edge_api.identity.authenticator import FailureBrake
from edge_api.metrics import Metrics
from edge_store.identity import credentials
from edge_store.identity.scopes import Scope

KNOWN_MOST: Final = 1000

_MEND: Final = "Make one: edge-api credential create --role admin."


@dataclass(frozen=True, slots=True)
class Caller:
    """A person or program with a credential of role admin or read."""

    credential_id: UUID
    role: str
    label: str | None
    expires_at: datetime
    scope: Scope

    @property
    def actor(self) -> str:
        """How the audit trail names the caller."""
        return f"{self.role}:{self.label or ''}:{self.credential_id}"

    @property
    def name(self) -> str:
        """How people name the caller."""
        return self.label or f"{self.role} {self.credential_id}"


class Callers:
    """Finds the caller behind an `Authorization` header."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._brake = FailureBrake()
        self._known: OrderedDict[UUID, bytes] = OrderedDict()
        """Credentials that were good at their last call: the brake, which others may have pulled, is not for them."""

    async def find(self, authorization: str | None, address: str, *, writes: bool) -> Caller:
        """Return who calls.

        Raises:
            RefusedError: no good credential (401), its role does not allow the call (403), too many failures (429).
            DatabaseAwayError: it can't be looked up now.

        """
        try:
            return await self._find(authorization, address, writes=writes)
        except RefusedError as refusal:
            self._metrics.failed_authentications.inc()
            if refusal.status == 401:
                self._brake.failed(address, time.monotonic())
            raise

    async def _find(self, authorization: str | None, address: str, *, writes: bool) -> Caller:
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise RefusedError(401, "credential_missing", f"The call carries no admin credential. {_MEND}")
        token = tokens.parse(text.strip(), tokens.ADMIN) or tokens.parse(text.strip(), tokens.CREDENTIAL)
        if token is None:
            raise RefusedError(401, "credential_invalid", f"This is not an admin credential. {_MEND}")
        known = self._known.pop(token.id, None)
        if (known is None or not token.matches(known)) and self._brake.exhausted(address, time.monotonic()):
            raise RefusedError(
                429, "too_many_failures", "Too many calls from this address failed to authenticate. Wait a few seconds."
            )
        row = await self._database.first(credentials.get_credential(token.id))
        if row is None or not token.matches(row.secret_hash):
            raise RefusedError(401, "credential_unknown", f"The credential is not known here. {_MEND}")
        caller = _checked(row, writes=writes)
        self._known[token.id] = row.secret_hash
        while len(self._known) > KNOWN_MOST:
            self._known.popitem(last=False)
        return caller


def _checked(row: credentials.CredentialSecret, *, writes: bool) -> Caller:
    if row.revoked_at is not None:
        raise RefusedError(401, "credential_revoked", f"The credential was revoked. {_MEND}")
    if row.expires_at <= datetime.now(UTC):
        raise RefusedError(401, "credential_expired", f"The credential has expired. {_MEND}")
    if row.role not in ("admin", "read"):
        raise RefusedError(403, "wrong_role", f"A worker's credential is not good for the admin API. {_MEND}")
    if writes and row.role != "admin":
        raise RefusedError(403, "read_only", f"A credential of role read is good for GET only. {_MEND}")
    queues = None if row.queues is None else tuple(row.queues)
    return Caller(row.id, row.role, row.label, row.expires_at, Scope(row.worker_pattern, row.team, queues))
