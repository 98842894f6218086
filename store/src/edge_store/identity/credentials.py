"""Statements on `edge.join_token` and `edge.credential`. Only hashes are stored."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Executable,
    bindparam,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Interval, Text

from edge_store.identity.scopes import WHOLE, Scope, of_credentials, of_join_tokens
from edge_store.schema.tables import credential, join_token


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
    label: str | None = None
    worker_pattern: str | None = None


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
    """Return which of these credentials are neither revoked nor expired: (id, queues, expires_at)."""
    return select(credential.c.id, credential.c.queues, credential.c.expires_at).where(
        credential.c.id.in_(list(credential_ids)),
        credential.c.revoked_at.is_(None),
        credential.c.expires_at > func.now(),
    )


_TOKEN_VIEW = tuple(column for column in join_token.c if column.name != "secret_hash")
_VIEW = tuple(column for column in credential.c if column.name != "secret_hash")


def join_tokens(limit: int, before: tuple[datetime, UUID] | None = None, scope: Scope = WHOLE) -> Executable:
    """Return join tokens without their hashes, the newest first, from the place `before` (created_at, id) on."""
    wanted = select(*_TOKEN_VIEW).order_by(join_token.c.created_at.desc(), join_token.c.id.desc()).limit(limit)
    wanted = wanted.where(of_join_tokens(scope))
    return wanted if before is None else wanted.where(_older(join_token.c.created_at, join_token.c.id, before))


def revoke_join_token(token_id: UUID, scope: Scope = WHOLE) -> Executable:
    """Revoke a token and return its row, also where it was revoked before; nothing: there is none in the scope."""
    return (
        update(join_token)
        .where(join_token.c.id == token_id, of_join_tokens(scope))
        .values(revoked_at=func.coalesce(join_token.c.revoked_at, func.now()))
        .returning(*_TOKEN_VIEW)
    )


def credential_view(credential_id: UUID, scope: Scope = WHOLE) -> Executable:
    """Return a credential without its hash, or nothing: there is none in the scope."""
    return select(*_VIEW).where(credential.c.id == credential_id, of_credentials(scope))


def credentials(
    limit: int,
    before: tuple[datetime, UUID] | None = None,
    worker: str | None = None,
    scope: Scope = WHOLE,
) -> Executable:
    """Return credentials without their hashes, the newest first, from the place `before` (created_at, id) on."""
    wanted = select(*_VIEW).order_by(credential.c.created_at.desc(), credential.c.id.desc()).limit(limit)
    wanted = wanted.where(of_credentials(scope))
    if worker is not None:
        wanted = wanted.where(credential.c.worker_name == worker)
    return wanted if before is None else wanted.where(_older(credential.c.created_at, credential.c.id, before))


def _older(
    created_at: ColumnElement[object], key: ColumnElement[object], before: tuple[datetime, UUID]
) -> ColumnElement[bool]:
    return tuple_(created_at, key) < tuple_(*before)


def revoke(credential_id: UUID, scope: Scope = WHOLE) -> Executable:
    """Revoke a credential, and hint all replicas to drop it; returns (id) if it was good until now."""
    return _revoke(credential.c.id == credential_id, scope)


def revoke_of_worker(name: str, scope: Scope = WHOLE) -> Executable:
    """Revoke all credentials of a worker, as `revoke`; returns (id) of those that were good until now."""
    return _revoke(credential.c.worker_name == name, scope)


def _revoke(condition: ColumnElement[bool], scope: Scope) -> Executable:
    revoked = (
        update(credential)
        .where(condition, of_credentials(scope), credential.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(credential.c.id)
        .cte("revoked")
    )
    return select(revoked.c.id, func.pg_notify("edge", literal("credential ") + cast(revoked.c.id, Text)))


_RESCOPE = text(
    """
    WITH changed AS (
        UPDATE edge.credential SET queues = :queues
        WHERE id = CAST(:id AS uuid) AND role = 'worker'
        RETURNING id, worker_name
    )
    SELECT id, worker_name, pg_notify('edge', 'credential ' || id), pg_notify('edge', 'desired ' || worker_name)
    FROM changed
    """
).bindparams(bindparam("queues", type_=ARRAY(Text)))


def rescope(credential_id: UUID, queues: Sequence[str] | None) -> Executable:
    """Change which queues a worker's credential grants (None: any); counts at the next claim.

    Returns (id, worker_name), or nothing: it is not the credential of a worker.
    """
    return _RESCOPE.bindparams(id=str(credential_id), queues=None if queues is None else list(queues))


_ROTATE = text(
    """
    WITH old AS (
        SELECT * FROM edge.credential
        WHERE id = CAST(:old AS uuid) AND revoked_at IS NULL AND expires_at > now() AND role = 'worker'
        FOR UPDATE
    ), new AS (
        INSERT INTO edge.credential (id, secret_hash, role, worker_name, identity, team, queues, label, expires_at)
        SELECT CAST(:new AS uuid), :secret_hash, role, worker_name, identity, team, queues, label, :expires_at FROM old
        RETURNING id, worker_name, team, queues, expires_at
    ), orphaned AS (
        UPDATE edge.credential SET revoked_at = now()
        WHERE id IN (SELECT rotated_to FROM old) AND revoked_at IS NULL
        RETURNING id
    ), retired AS (
        UPDATE edge.credential c
        SET rotated_at = coalesce(c.rotated_at, now()), rotated_to = CAST(:new AS uuid),
            expires_at = least(c.expires_at, coalesce(c.rotated_at, now()) + :overlap)
        FROM old WHERE c.id = old.id
        RETURNING c.expires_at
    ), hinted AS (
        SELECT pg_notify('edge', 'credential ' || id) FROM (SELECT id FROM orphaned UNION ALL SELECT id FROM old) c
    )
    SELECT new.*, retired.expires_at AS previous_good_until, (SELECT count(*) FROM hinted) AS hints
    FROM new CROSS JOIN retired
    """
).bindparams(bindparam("overlap", type_=Interval))


def rotate(old: UUID, new: UUID, secret_hash: bytes, expires_at: datetime, overlap: timedelta) -> Executable:
    """Give a worker's credential a successor of the same identity and scopes; the old one is good for `overlap`.

    A repeat, whose answer was lost, makes another successor and revokes the one that nobody received; the overlap
    counts from the first call. Returns (id, worker_name, team, queues, expires_at, previous_good_until, hints), or
    nothing: the old one is not good.
    """
    return _ROTATE.bindparams(
        old=str(old), new=str(new), secret_hash=secret_hash, expires_at=expires_at, overlap=overlap
    )
