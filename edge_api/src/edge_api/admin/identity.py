"""Join tokens and credentials for administrators. Secrets are shown once, in the answer that makes them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from edge_api.admin import cursors
from edge_api.admin.callers import Caller
from edge_api.admin.scopes import check_queues, inside, unknown
from edge_api.database.pool import Database
from edge_api.errors import RefusedError
from edge_api.identity import tokens
from edge_protocol.admin import (
    CredentialCreated,
    CredentialPage,
    CredentialRequest,
    CredentialView,
    TokenCreated,
    TokenPage,
    TokenRequest,
    TokenView,
)
from edge_store.database.statement import Command, Statement
from edge_store.identity import audit, credentials


class IdentityAdmin:
    """Makes, lists and revokes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_token(self, caller: Caller, request: TokenRequest) -> TokenCreated:
        """Make a join token; what it leaves open is bound as the caller is.

        Raises:
            OutOfScopeError: it would reach beyond the caller's scope (403).

        """
        request = inside(caller, request)
        token = tokens.mint(tokens.JOIN_TOKEN)
        new = new_join_token(token, request)
        entry = audit.NewAudit(caller.actor, "token.create", f"token/{token.id}", request.model_dump(mode="json"))
        await self._write(entry, credentials.add_join_token(new))
        return TokenCreated(
            id=token.id,
            worker_pattern=request.worker_pattern,
            queues=request.queues,
            team=request.team,
            uses_left=request.uses,
            created_at=datetime.now(UTC),
            expires_at=new.expires_at,
            revoked_at=None,
            token=token.text,
        )

    async def tokens(self, caller: Caller, limit: int, cursor: str | None) -> TokenPage:
        """Return join tokens, the newest first."""
        statement = credentials.join_tokens(limit + 1, cursors.decode_moment(cursor), caller.scope)
        rows = await self._database.rows(statement)
        items = [TokenView.model_validate(row, from_attributes=True) for row in rows[:limit]]
        return TokenPage(items=items, next=_next(items, limit, len(rows)))

    async def revoke_token(self, caller: Caller, token_id: UUID) -> None:
        """Revoke a join token.

        Raises:
            RefusedError: there is none (404).

        """
        entry = audit.NewAudit(caller.actor, "token.revoke", f"token/{token_id}")
        if not await self._write(entry, credentials.revoke_join_token(token_id, caller.scope)):
            exists = await self._database.first(credentials.get_join_token(token_id)) is not None
            raise unknown(caller.scope, "token_unknown", f"join token {token_id}", exists=exists)

    async def create_credential(self, caller: Caller, request: CredentialRequest) -> CredentialCreated:
        """Make a credential of role admin or read; what it leaves open is bound as the caller is.

        One of a scope does not outlive its maker: whoever has it for a while only can't keep it up by itself.

        Raises:
            OutOfScopeError: it would reach beyond the caller's scope (403).

        """
        request = inside(caller, request)
        token = tokens.mint(tokens.ADMIN)
        new = new_credential(token, request)
        if not caller.scope.whole:
            new = replace(new, expires_at=min(new.expires_at, caller.expires_at))
        detail = request.model_dump(mode="json")
        entry = audit.NewAudit(caller.actor, "credential.create", f"credential/{token.id}", detail)
        await self._write(entry, credentials.add_credential(new))
        return CredentialCreated(
            id=token.id,
            role=request.role,
            label=request.label,
            worker=None,
            worker_pattern=request.worker_pattern,
            team=request.team,
            queues=request.queues,
            created_at=datetime.now(UTC),
            expires_at=new.expires_at,
            rotated_at=None,
            revoked_at=None,
            credential=token.text,
        )

    async def credentials(self, caller: Caller, worker: str | None, limit: int, cursor: str | None) -> CredentialPage:
        """Return credentials, the newest first."""
        statement = credentials.credentials(limit + 1, cursors.decode_moment(cursor), worker, caller.scope)
        rows = await self._database.rows(statement)
        items = [credential_view(row) for row in rows[:limit]]
        return CredentialPage(items=items, next=_next(items, limit, len(rows)))

    async def credential(self, caller: Caller, credential_id: UUID) -> CredentialView:
        """Return one credential.

        Raises:
            RefusedError: there is none (404).

        """
        row = await self._database.first(credentials.one_credential(credential_id, caller.scope))
        if row is None:
            exists = await self._database.first(credentials.one_credential(credential_id)) is not None
            raise unknown(caller.scope, "credential_unknown", f"credential {credential_id}", exists=exists)
        return credential_view(row)

    async def rescope(self, caller: Caller, credential_id: UUID, queues: list[str] | None) -> CredentialView:
        """Change which queues a worker's credential grants.

        Raises:
            RefusedError: there is none (404), or it is not a worker's (409).
            OutOfScopeError: it would grant what is not the caller's to give (403).

        """
        await self.credential(caller, credential_id)
        if queues is None and caller.scope.queues is not None:
            queues = list(caller.scope.queues)
        check_queues(caller.scope, queues or ())
        detail = {"queues": queues}
        entry = audit.NewAudit(caller.actor, "credential.rescope", f"credential/{credential_id}", detail)
        if not await self._write(entry, credentials.rescope(credential_id, queues)):
            raise RefusedError(
                409, "wrong_role", "Only credentials of workers grant queues; this one is for people or programs."
            )
        return await self.credential(caller, credential_id)

    async def revoke(self, caller: Caller, credential_id: UUID) -> None:
        """Revoke a credential; one that was revoked before stays so.

        Raises:
            RefusedError: there is none (404).

        """
        entry = audit.NewAudit(caller.actor, "credential.revoke", f"credential/{credential_id}")
        if not await self._write(entry, credentials.revoke(credential_id, caller.scope)):
            await self.credential(caller, credential_id)

    async def revoke_of_worker(self, caller: Caller, worker: str) -> int:
        """Revoke all credentials of a worker and return how many were good until now.

        Raises:
            OutOfScopeError: the name is outside of the caller's scope (404).

        """
        if not caller.scope.covers_name(worker):
            raise unknown(caller.scope, "worker_unknown", f"worker {worker[:300]}", exists=True)
        entry = audit.NewAudit(caller.actor, "credential.revoke", f"worker/{worker}")
        return await self._write(entry, credentials.revoke_of_worker(worker, caller.scope))

    async def _write(self, entry: audit.NewAudit, statement: Statement[Any] | Command) -> int:
        """Run a statement; if it changed anything, with its entry of the audit trail. Returns the rows changed."""
        async with self._database.transaction(entry.action) as transaction:
            if isinstance(statement, Statement):
                changed = len(await transaction.rows(statement))
            else:
                await transaction.run(statement)
                changed = 1
            if changed:
                await transaction.run(audit.add([entry]))
        return changed


def new_join_token(token: tokens.Token, request: TokenRequest) -> credentials.NewJoinToken:
    """Return what the store keeps of a new join token."""
    return credentials.NewJoinToken(
        id=token.id,
        secret_hash=token.digest,
        worker_pattern=request.worker_pattern,
        queues=request.queues,
        team=request.team,
        uses_left=request.uses,
        expires_at=datetime.now(UTC) + timedelta(seconds=request.expires_s),
    )


def new_credential(token: tokens.Token, request: CredentialRequest) -> credentials.NewCredential:
    """Return what the store keeps of a new credential for people or programs."""
    return credentials.NewCredential(
        id=token.id,
        secret_hash=token.digest,
        role=request.role,
        worker_name=None,
        identity=None,
        team=request.team,
        queues=request.queues,
        expires_at=datetime.now(UTC) + timedelta(seconds=request.expires_s),
        label=request.label,
        worker_pattern=request.worker_pattern,
    )


def credential_view(row: credentials.CredentialRow) -> CredentialView:
    """Return a row of the store as people see it."""
    fields = {name: getattr(row, name) for name in CredentialView.model_fields if name != "worker"}
    return CredentialView(worker=row.worker_name, **fields)


def _next(items: list[Any], limit: int, found: int) -> str | None:
    return cursors.encode_moment(items[-1].created_at, items[-1].id) if found > limit else None
