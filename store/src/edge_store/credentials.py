"""Statements on `edge.join_token` and `edge.credential`. Only hashes are stored."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import Executable, func, insert, or_, select, update

from edge_store.tables import credential, join_token


@dataclass(frozen=True, slots=True)
class NewJoinToken:
    """A token that may be traded for worker credentials."""

    id: UUID
    secret_hash: bytes
    worker_pattern: str
    queues: Sequence[str] | None
    team: str | None
    uses_left: int | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class NewCredential:
    """What a caller shows with every call."""

    id: UUID
    secret_hash: bytes
    role: Literal["worker", "admin", "read"]
    worker_name: str | None
    identity: UUID | None
    team: str | None
    queues: Sequence[str] | None
    expires_at: datetime


def add_join_token(new: NewJoinToken) -> Executable:
    """Store a join token."""
    return insert(join_token).values(**asdict(new))


def get_join_token(token_id: UUID) -> Executable:
    """Return the token's row and `expired`, or nothing."""
    return select(join_token, (join_token.c.expires_at <= func.now()).label("expired")).where(
        join_token.c.id == token_id
    )


def use_join_token(token_id: UUID) -> Executable:
    """Take one use of a token and return (id); no row: it is used up, expired or revoked."""
    return (
        update(join_token)
        .where(
            join_token.c.id == token_id,
            join_token.c.revoked_at.is_(None),
            join_token.c.expires_at > func.now(),
            or_(join_token.c.uses_left.is_(None), join_token.c.uses_left > 0),
        )
        .values(uses_left=join_token.c.uses_left - 1)
        .returning(join_token.c.id)
    )


def add_credential(new: NewCredential) -> Executable:
    """Store a credential."""
    return insert(credential).values(**asdict(new))


def get_credential(credential_id: UUID) -> Executable:
    """Return the credential's row, or nothing."""
    return select(credential).where(credential.c.id == credential_id)


def still_good(credential_ids: Sequence[UUID]) -> Executable:
    """Return which of these credentials are neither revoked nor expired: (id)."""
    return select(credential.c.id).where(
        credential.c.id.in_(list(credential_ids)),
        credential.c.revoked_at.is_(None),
        credential.c.expires_at > func.now(),
    )
