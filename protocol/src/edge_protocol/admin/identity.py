"""Join tokens and credentials."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, model_validator

from edge_protocol.admin.common import Lifetime, example
from edge_protocol.limits import AllowedNames, QueueName, WorkerPattern

LABEL_MAX = 128
"""Characters of a credential's label."""
TEAM_MAX = 256
"""Characters of a team's name."""


class TokenRequest(BaseModel):
    """A join token: the limits of a worker that enrols with it.

    If the creator's credential is for a part of the fleet, omitted limits are taken from that credential.
    """

    model_config = example(
        {"worker_pattern": "plant-*", "queues": ["press"], "team": None, "uses": 1, "expires_s": 86400}, extra="forbid"
    )

    worker_pattern: str = Field(default="*", min_length=1, max_length=512)
    """A glob pattern of worker names."""
    queues: list[QueueName] | None = Field(default=None, max_length=256)
    """None: any queue."""
    team: str | None = Field(default=None, min_length=1, max_length=TEAM_MAX)
    connections: AllowedNames | None = None
    """The only Airflow Connections that the worker's tasks may use: names, or prefixes and `*`. None: any."""
    variables: AllowedNames | None = None
    """The only Airflow Variables that the worker's tasks may use, in the same way."""
    uses: int | None = Field(default=1, ge=1, le=1_000_000)
    """None: any number of times until it expires."""
    expires_s: Lifetime = 86_400


class TokenView(BaseModel):
    """A join token without its secret."""

    id: UUID
    worker_pattern: str
    queues: list[str] | None
    team: str | None
    connections: list[str] | None
    variables: list[str] | None
    uses_left: int | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class TokenCreated(TokenView):
    """The token itself. It cannot be shown again."""

    token: str = Field(repr=False)


class TokenPage(BaseModel):
    """Join tokens, newest first."""

    items: list[TokenView]
    next: str | None = None


class CredentialRequest(BaseModel):
    """A credential for people or programs, for the whole fleet or a part of it. Workers get theirs by enrolment.

    Omitted limits are taken from the creator's credential. Without any limits it is for the whole fleet.
    """

    model_config = example(
        {"role": "admin", "label": "plant 7", "worker_pattern": "plant-7-*", "queues": ["press"]},
        extra="forbid",
    )

    role: Literal["admin", "read"]
    label: str = Field(min_length=1, max_length=LABEL_MAX)
    """Who or what uses it: shown in lists and as the actor in the audit trail."""
    worker_pattern: WorkerPattern | None = None
    """The only workers that it can see: a name, or a prefix and `*`."""
    team: str | None = Field(default=None, min_length=1, max_length=TEAM_MAX)
    """The only team whose workers and jobs it can see."""
    queues: list[QueueName] | None = Field(default=None, min_length=1, max_length=256)
    """The only queues that it may add and grant, and whose waiting jobs it can see."""
    connections: AllowedNames | None = None
    """The only Airflow Connections that it may grant to workers: names, or prefixes and `*`. None: any."""
    variables: AllowedNames | None = None
    """The only Airflow Variables that it may grant to workers, in the same way."""
    on_behalf: bool = False
    """Its calls may name the person behind them (`X-Edge-On-Behalf-Of`): for programs that many people use."""
    expires_s: Lifetime = 90 * 86_400


class CredentialView(BaseModel):
    """A credential without its secret."""

    id: UUID
    role: Literal["worker", "admin", "read"]
    label: str | None
    worker: str | None
    worker_pattern: str | None
    """For role admin or read: the only workers that it can see. None: all workers."""
    team: str | None
    queues: list[str] | None
    connections: list[str] | None
    """The only Airflow Connections that the worker's tasks may use; for other roles, that it may grant. None: any."""
    variables: list[str] | None
    """The only Airflow Variables, in the same way."""
    on_behalf: bool
    """Its calls may name the person behind them."""
    created_at: datetime
    expires_at: datetime
    rotated_at: datetime | None
    """When its successor was issued. The old credential stays valid until `expires_at`."""
    revoked_at: datetime | None


class CredentialCreated(CredentialView):
    """The credential itself. It cannot be shown again."""

    credential: str = Field(repr=False)


class CredentialPage(BaseModel):
    """Credentials, newest first."""

    items: list[CredentialView]
    next: str | None = None


class CredentialPatch(BaseModel):
    """What a worker's credential grants. An omitted field is left alone. Null: any that the caller may grant."""

    model_config = example({"queues": ["press"], "variables": ["press_*"]}, extra="forbid")

    queues: list[QueueName] | None = Field(default=None, max_length=256)
    """From the next claim on."""
    connections: AllowedNames | None = None
    """From the next call of a task on, as for Variables."""
    variables: AllowedNames | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give at least one of: queues, connections, variables")
        return self


class RevokedCredentials(BaseModel):
    """The number of credentials that were valid until now."""

    revoked: int
