"""Statements on `edge.join_token` and `edge.credential`. Only hashes are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.types import Interval, Text

from edge_store.database.statement import Command, Statement
from edge_store.identity.scopes import WHOLE, Scope, of_credentials, of_join_tokens
from edge_store.schema.tables import credential, join_token


@dataclass(frozen=True, slots=True)
class NewJoinToken:
    """A token that can be exchanged for worker credentials."""

    id: UUID
    secret_hash: bytes
    worker_pattern: str
    queues: Sequence[str] | None
    team: str | None
    uses_left: int | None
    expires_at: datetime
    connections: Sequence[str] | None = None
    variables: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential, which its holder shows with every call."""

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
    on_behalf: bool = False
    connections: Sequence[str] | None = None
    variables: Sequence[str] | None = None


def add_join_token(new: NewJoinToken) -> Command:
    """Store a join token."""
    return Command("add_join_token", insert(join_token).values(**asdict(new)))


class JoinTokenSecret(NamedTuple):
    """A join token, for checking one that is shown."""

    id: UUID
    secret_hash: bytes
    worker_pattern: str
    queues: list[str] | None
    team: str | None
    uses_left: int | None
    revoked_at: datetime | None
    connections: list[str] | None
    variables: list[str] | None
    expired: bool


def get_join_token(token_id: UUID) -> Statement[JoinTokenSecret]:
    """Return the token, or nothing."""
    expired = (join_token.c.expires_at <= func.now()).label("expired")
    columns = (join_token.c[name] for name in JoinTokenSecret._fields if name != "expired")
    executable = select(*columns, expired).where(join_token.c.id == token_id)
    return Statement("join_token", executable, JoinTokenSecret)


class UsedToken(NamedTuple):
    """A join token of which one use was taken."""

    id: UUID


def use_join_token(token_id: UUID) -> Statement[UsedToken]:
    """Take one use of a token; returns no row if it is used up, expired or revoked."""
    executable = (
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
    return Statement("use_join_token", executable, UsedToken)


def add_credential(new: NewCredential) -> Command:
    """Store a credential."""
    return Command("add_credential", insert(credential).values(**asdict(new)))


class CredentialSecret(NamedTuple):
    """A credential, for checking one that is shown."""

    id: UUID
    secret_hash: bytes
    role: str
    worker_name: str | None
    identity: UUID | None
    team: str | None
    queues: list[str] | None
    expires_at: datetime
    revoked_at: datetime | None
    label: str | None
    rotated_to: UUID | None
    worker_pattern: str | None
    on_behalf: bool
    connections: list[str] | None
    variables: list[str] | None


def get_credential(credential_id: UUID) -> Statement[CredentialSecret]:
    """Return the credential, or nothing."""
    executable = select(*(credential.c[name] for name in CredentialSecret._fields))
    return Statement("credential_secret", executable.where(credential.c.id == credential_id), CredentialSecret)


class Grant(NamedTuple):
    """The queues that a valid credential grants, and until when."""

    id: UUID
    queues: list[str] | None
    expires_at: datetime


def still_valid(credential_ids: Sequence[UUID]) -> Statement[Grant]:
    """Return which of these credentials are neither revoked nor expired."""
    executable = select(credential.c.id, credential.c.queues, credential.c.expires_at).where(
        credential.c.id.in_(list(credential_ids)),
        credential.c.revoked_at.is_(None),
        credential.c.expires_at > func.now(),
    )
    return Statement("valid_credentials", executable, Grant)


class JoinTokenRow(NamedTuple):
    """A join token as people see it, without its hash."""

    id: UUID
    worker_pattern: str
    queues: list[str] | None
    team: str | None
    uses_left: int | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    connections: list[str] | None
    variables: list[str] | None


class CredentialRow(NamedTuple):
    """A credential as people see it, without its hash."""

    id: UUID
    role: str
    worker_name: str | None
    identity: UUID | None
    team: str | None
    queues: list[str] | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    label: str | None
    rotated_at: datetime | None
    rotated_to: UUID | None
    worker_pattern: str | None
    on_behalf: bool
    connections: list[str] | None
    variables: list[str] | None


_TOKEN_COLUMNS = tuple(join_token.c[name] for name in JoinTokenRow._fields)
_CREDENTIALS = select(*(credential.c[name] for name in CredentialRow._fields))


def join_tokens(
    limit: int, before: tuple[datetime, UUID] | None = None, scope: Scope = WHOLE
) -> Statement[JoinTokenRow]:
    """Return join tokens, newest first, older than the place `before` (created_at, id)."""
    chosen = select(*_TOKEN_COLUMNS).order_by(join_token.c.created_at.desc(), join_token.c.id.desc()).limit(limit)
    chosen = chosen.where(of_join_tokens(scope))
    if before is not None:
        chosen = chosen.where(_older(join_token.c.created_at, join_token.c.id, before))
    return Statement("join_tokens", chosen, JoinTokenRow)


def revoke_join_token(token_id: UUID, scope: Scope = WHOLE) -> Statement[JoinTokenRow]:
    """Revoke a token and return it, also if it was revoked before; returns no row if there is none in the scope."""
    executable = (
        update(join_token)
        .where(join_token.c.id == token_id, of_join_tokens(scope))
        .values(revoked_at=func.coalesce(join_token.c.revoked_at, func.now()))
        .returning(*_TOKEN_COLUMNS)
    )
    return Statement("revoke_join_token", executable, JoinTokenRow)


def one_credential(credential_id: UUID, scope: Scope = WHOLE) -> Statement[CredentialRow]:
    """Return a credential, or nothing where there is none in the scope."""
    chosen = _CREDENTIALS.where(credential.c.id == credential_id, of_credentials(scope))
    return Statement("credential", chosen, CredentialRow)


def credentials(
    limit: int,
    before: tuple[datetime, UUID] | None = None,
    worker: str | None = None,
    scope: Scope = WHOLE,
) -> Statement[CredentialRow]:
    """Return credentials, newest first, older than the place `before` (created_at, id)."""
    chosen = _CREDENTIALS.order_by(credential.c.created_at.desc(), credential.c.id.desc()).limit(limit)
    chosen = chosen.where(of_credentials(scope))
    if worker is not None:
        chosen = chosen.where(credential.c.worker_name == worker)
    if before is not None:
        chosen = chosen.where(_older(credential.c.created_at, credential.c.id, before))
    return Statement("credentials", chosen, CredentialRow)


def _older(
    created_at: ColumnElement[object], key: ColumnElement[object], before: tuple[datetime, UUID]
) -> ColumnElement[bool]:
    return tuple_(created_at, key) < tuple_(*before)


class RevokedCredential(NamedTuple):
    """A credential that was valid until now."""

    id: UUID
    hints: int
    """Hints sent by the whole statement."""


def revoke(credential_id: UUID, scope: Scope = WHOLE) -> Statement[RevokedCredential]:
    """Revoke a credential, and hint all replicas to drop it."""
    return Statement("revoke_credential", _revoke(credential.c.id == credential_id, scope), RevokedCredential)


def revoke_of_worker(name: str, scope: Scope = WHOLE) -> Statement[RevokedCredential]:
    """Revoke all credentials of a worker, and hint all replicas to drop them."""
    return Statement("revoke_credentials", _revoke(credential.c.worker_name == name, scope), RevokedCredential)


def _revoke(condition: ColumnElement[bool], scope: Scope) -> Select[tuple[UUID, int]]:
    revoked = (
        update(credential)
        .where(condition, of_credentials(scope), credential.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(credential.c.id)
        .cte("revoked")
    )
    hinted = select(func.pg_notify("edge", literal("credential ") + cast(revoked.c.id, Text))).cte("hinted")
    hints = select(func.count()).select_from(hinted).scalar_subquery()
    return select(revoked.c.id, hints.label("hints"))


Granted = Literal["queues", "connections", "variables"]
"""What a credential lists; each list may be None: any."""
GRANTED: Final[tuple[Granted, ...]] = ("queues", "connections", "variables")


class RescopedCredential(NamedTuple):
    """A credential whose lists have changed."""

    id: UUID
    worker_name: str | None
    hints: int


def rescope(credential_id: UUID, lists: Mapping[Granted, Sequence[str] | None]) -> Statement[RescopedCredential]:
    """Change what a worker's credential lists (None: any); lists that are not given are left alone.

    Queues count at the next claim, the others at the next call. Returns no row if it is not the credential of a worker.
    """
    return _change_lists(and_(credential.c.id == credential_id, credential.c.role == "worker"), lists)


def limit_grants(credential_id: UUID, lists: Mapping[Granted, Sequence[str] | None]) -> Statement[RescopedCredential]:
    """Change what a credential of role admin or read may grant; lists that are not given are left alone."""
    return _change_lists(and_(credential.c.id == credential_id, credential.c.role != "worker"), lists)


def _change_lists(
    condition: ColumnElement[bool], lists: Mapping[Granted, Sequence[str] | None]
) -> Statement[RescopedCredential]:
    changed = (
        update(credential)
        .where(condition)
        .values({name: None if listed is None else list(listed) for name, listed in lists.items()})
        .returning(credential.c.id, credential.c.worker_name)
        .cte("changed")
    )
    of_credential = select(literal("credential ") + cast(changed.c.id, Text))
    of_worker = select(literal("desired ") + changed.c.worker_name).where(changed.c.worker_name.is_not(None))
    texts = union_all(of_credential, of_worker).subquery()
    hints = select(func.pg_notify("edge", texts.c[0])).cte("hinted")
    sent = select(func.count()).select_from(hints).scalar_subquery()
    executable = select(changed.c.id, changed.c.worker_name, sent.label("hints"))
    return Statement("rescope_credential", executable, RescopedCredential)


class RotatedCredential(NamedTuple):
    """The successor of a worker's credential."""

    id: UUID
    worker_name: str
    team: str | None
    queues: list[str] | None
    expires_at: datetime
    previous_valid_until: datetime
    """When the old credential expires."""
    hints: int


_ROTATE = text(
    """
    WITH old AS (
        SELECT * FROM edge.credential
        WHERE id = CAST(:old AS uuid) AND revoked_at IS NULL AND expires_at > now() AND role = 'worker'
        FOR UPDATE
    ), new AS (
        INSERT INTO edge.credential (
            id, secret_hash, role, worker_name, identity, team, queues, connections, variables, label, expires_at
        )
        SELECT
            CAST(:new AS uuid), :secret_hash, role, worker_name, identity, team, queues, connections, variables, label,
            :expires_at
        FROM old
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
    SELECT new.*, retired.expires_at AS previous_valid_until, (SELECT count(*) FROM hinted) AS hints
    FROM new CROSS JOIN retired
    """
).bindparams(bindparam("overlap", type_=Interval))


def rotate(
    old: UUID, new: UUID, secret_hash: bytes, expires_at: datetime, overlap: timedelta
) -> Statement[RotatedCredential]:
    """Give a worker's credential a successor of the same identity and scopes; the old one stays valid for `overlap`.

    If the answer to a first call was lost, the second makes another successor and revokes the one that nobody received;
    the overlap counts from the first call. Returns no row if the old credential is revoked or expired.
    """
    executable = _ROTATE.bindparams(
        old=str(old), new=str(new), secret_hash=secret_hash, expires_at=expires_at, overlap=overlap
    )
    return Statement("rotate_credential", executable, RotatedCredential)
