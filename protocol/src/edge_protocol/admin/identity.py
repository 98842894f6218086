"""Join tokens and credentials."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from edge_protocol.admin.common import Lifetime, example
from edge_protocol.limits import QueueName, WorkerPattern

LABEL_MAX = 128
"""Characters of the name of a credential."""
TEAM_MAX = 256
"""Characters of the name of a team."""


class TokenRequest(BaseModel):
    """A join token: what a worker that enrols with it may be.

    What is left open is bound as its maker is, where the maker's own credential is for a part of the fleet.
    """

    model_config = example(
        {"worker_pattern": "plant-*", "queues": ["press"], "team": None, "uses": 1, "expires_s": 86400}, extra="forbid"
    )

    worker_pattern: str = Field(default="*", min_length=1, max_length=512)
    """A glob of worker names."""
    queues: list[QueueName] | None = Field(default=None, max_length=256)
    """None: any queue."""
    team: str | None = Field(default=None, min_length=1, max_length=TEAM_MAX)
    uses: int | None = Field(default=1, ge=1, le=1_000_000)
    """None: as often as wanted until it expires."""
    expires_s: Lifetime = 86_400


class TokenView(BaseModel):
    """A join token without its secret."""

    id: UUID
    worker_pattern: str
    queues: list[str] | None
    team: str | None
    uses_left: int | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class TokenCreated(TokenView):
    """The token itself, shown this once."""

    token: str = Field(repr=False)


class TokenPage(BaseModel):
    """Join tokens, the newest first."""

    items: list[TokenView]
    next: str | None = None


class CredentialRequest(BaseModel):
    """A credential for people or programs, for the whole fleet or a part of it. Those of workers come from enrolment.

    What is left open is bound as its maker is. With all bounds open it is for the whole fleet.
    """

    model_config = example(
        {"role": "admin", "label": "plant 7", "worker_pattern": "plant-7-*", "queues": ["press"]},
        extra="forbid",
    )

    role: Literal["admin", "read"]
    label: str = Field(min_length=1, max_length=LABEL_MAX)
    """Who or what uses it: shown in lists and as the actor of the audit trail."""
    worker_pattern: WorkerPattern | None = None
    """The only workers that it sees: a name, or the start of names and `*`."""
    team: str | None = Field(default=None, min_length=1, max_length=TEAM_MAX)
    """The only team whose workers and jobs it sees."""
    queues: list[QueueName] | None = Field(default=None, min_length=1, max_length=256)
    """The only queues that it may add and grant, and whose waiting jobs it sees."""
    expires_s: Lifetime = 90 * 86_400


class CredentialView(BaseModel):
    """A credential without its secret."""

    id: UUID
    role: Literal["worker", "admin", "read"]
    label: str | None
    worker: str | None
    worker_pattern: str | None
    """Of role admin or read: the only workers that it sees; None: all."""
    team: str | None
    queues: list[str] | None
    created_at: datetime
    expires_at: datetime
    rotated_at: datetime | None
    """Since then there is a successor; it is good until `expires_at` all the same."""
    revoked_at: datetime | None


class CredentialCreated(CredentialView):
    """The credential itself, shown this once."""

    credential: str = Field(repr=False)


class CredentialPage(BaseModel):
    """Credentials, the newest first."""

    items: list[CredentialView]
    next: str | None = None


class CredentialPatch(BaseModel):
    """Which queues a worker's credential grants from the next claim on; null: any that the caller may grant."""

    model_config = example({"queues": ["press"]}, extra="forbid")

    queues: list[QueueName] | None = Field(max_length=256)


class RevokedCredentials(BaseModel):
    """How many credentials were good until now."""

    revoked: int
