"""`/tokens` and `/credentials`: created, listed, changed and revoked. Secrets are shown once, when created."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from edge_api.admin import cursors
from edge_api.admin.parameters import LIMIT, Cursor, Limit, Name, WhoCalls
from edge_api.admin.scopes import check_on_behalf, grants_inside, inside, unknown
from edge_api.database.pool import Database
from edge_api.errors import RefusedError
from edge_api.identity import tokens
from edge_api.identity.issuing import credential_view, new_credential, new_join_token
from edge_protocol.admin import (
    CredentialCreated,
    CredentialPage,
    CredentialPatch,
    CredentialRequest,
    CredentialView,
    RevokedCredentials,
    TokenCreated,
    TokenPage,
    TokenRequest,
    TokenView,
)
from edge_protocol.limits import WORKER_NAME_MAX
from edge_store.database.statement import Command, Statement
from edge_store.identity import audit, credentials


class IdentityAdmin:
    """Join tokens and credentials."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.router = router = APIRouter(tags=["identity"])
        router.post("/tokens", status_code=201)(self.create_token)
        router.get("/tokens")(self.list_tokens)
        router.delete("/tokens/{token_id}", status_code=204)(self.revoke_token)
        router.post("/credentials", status_code=201)(self.create_credential)
        router.get("/credentials")(self.list_credentials)
        router.get("/credentials/{credential_id}")(self.get_credential)
        router.patch("/credentials/{credential_id}")(self.rescope_credential)
        router.delete("/credentials/{credential_id}", status_code=204)(self.revoke_credential)
        router.delete("/workers/{name}/credentials", tags=["workers"])(self.revoke_credentials_of_worker)

    # ---- join tokens ----

    async def create_token(self, caller: WhoCalls, body: TokenRequest) -> TokenCreated:
        """Create a join token; it is shown only now."""
        request = inside(caller, body)
        token = tokens.mint(tokens.JOIN_TOKEN)
        new = new_join_token(token, request)
        entry = audit.NewAudit(caller.actor, "token.create", f"token/{token.id}", request.model_dump(mode="json"))
        await self._write(entry, credentials.add_join_token(new))
        return TokenCreated(
            id=token.id,
            worker_pattern=request.worker_pattern,
            queues=request.queues,
            team=request.team,
            connections=request.connections,
            variables=request.variables,
            uses_left=request.uses,
            created_at=datetime.now(UTC),
            expires_at=new.expires_at,
            revoked_at=None,
            token=token.text,
        )

    async def list_tokens(self, caller: WhoCalls, limit: Limit = LIMIT, cursor: Cursor = None) -> TokenPage:
        """List join tokens, the newest first, without their secrets."""
        statement = credentials.join_tokens(limit + 1, cursors.decode_moment(cursor), caller.scope)
        rows = await self._database.rows(statement)
        items = [TokenView.model_validate(row, from_attributes=True) for row in rows[:limit]]
        return TokenPage(items=items, next=_next(items, limit, len(rows)))

    async def revoke_token(self, caller: WhoCalls, token_id: UUID) -> Response:
        """Revoke a join token. Workers that have enrolled with it stay."""
        entry = audit.NewAudit(caller.actor, "token.revoke", f"token/{token_id}")
        if not await self._write(entry, credentials.revoke_join_token(token_id, caller.scope)):
            exists = await self._database.first(credentials.get_join_token(token_id)) is not None
            raise unknown(caller.scope, "token_unknown", f"join token {token_id}", exists=exists)
        return Response(status_code=204)

    # ---- credentials ----

    async def create_credential(self, caller: WhoCalls, body: CredentialRequest) -> CredentialCreated:
        """Create a credential of role admin or read; it is shown only now."""
        request = inside(caller, body)
        check_on_behalf(caller, request)
        token = tokens.mint(tokens.ADMIN)
        new = new_credential(token, request)
        if not caller.scope.whole:
            # A scoped credential expires no later than its creator's: otherwise it could renew itself forever.
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
            connections=request.connections,
            variables=request.variables,
            on_behalf=request.on_behalf,
            created_at=datetime.now(UTC),
            expires_at=new.expires_at,
            rotated_at=None,
            revoked_at=None,
            credential=token.text,
        )

    async def list_credentials(
        self,
        caller: WhoCalls,
        worker: Annotated[str | None, Query(max_length=WORKER_NAME_MAX)] = None,
        limit: Limit = LIMIT,
        cursor: Cursor = None,
    ) -> CredentialPage:
        """List credentials, the newest first, without their secrets."""
        statement = credentials.credentials(limit + 1, cursors.decode_moment(cursor), worker, caller.scope)
        rows = await self._database.rows(statement)
        items = [credential_view(row) for row in rows[:limit]]
        return CredentialPage(items=items, next=_next(items, limit, len(rows)))

    async def get_credential(self, caller: WhoCalls, credential_id: UUID) -> CredentialView:
        """Get one credential, without its secret."""
        row = await self._database.first(credentials.one_credential(credential_id, caller.scope))
        if row is None:
            exists = await self._database.first(credentials.one_credential(credential_id)) is not None
            raise unknown(caller.scope, "credential_unknown", f"credential {credential_id}", exists=exists)
        return credential_view(row)

    async def rescope_credential(self, caller: WhoCalls, credential_id: UUID, body: CredentialPatch) -> CredentialView:
        """Change which queues, Connections and Variables a worker's credential grants.

        Queues count from the next claim on, Connections and Variables from the next call of a task on.
        """
        await self.get_credential(caller, credential_id)
        asked: dict[credentials.Granted, list[str] | None] = {
            name: getattr(body, name) for name in credentials.GRANTED if name in body.model_fields_set
        }
        granted = grants_inside(caller, asked)
        detail = dict[str, Any](granted.items())
        entry = audit.NewAudit(caller.actor, "credential.rescope", f"credential/{credential_id}", detail)
        if not await self._write(entry, credentials.rescope(credential_id, granted)):
            raise RefusedError(
                409, "wrong_role", "Only what a worker's credential grants can change; this one is of another role."
            )
        return await self.get_credential(caller, credential_id)

    async def revoke_credential(self, caller: WhoCalls, credential_id: UUID) -> Response:
        """Revoke a credential; its sessions and streams end within a second, on any replica."""
        entry = audit.NewAudit(caller.actor, "credential.revoke", f"credential/{credential_id}")
        if not await self._write(entry, credentials.revoke(credential_id, caller.scope)):
            # Revoked before, unless there is no such credential.
            await self.get_credential(caller, credential_id)
        return Response(status_code=204)

    async def revoke_credentials_of_worker(self, caller: WhoCalls, name: Name) -> RevokedCredentials:
        """Revoke all credentials of a worker; its session ends within a second, on any replica."""
        if not caller.scope.covers_name(name):
            raise unknown(caller.scope, "worker_unknown", f"worker {name[:300]}", exists=True)
        entry = audit.NewAudit(caller.actor, "credential.revoke", f"worker/{name}")
        return RevokedCredentials(revoked=await self._write(entry, credentials.revoke_of_worker(name, caller.scope)))

    async def _write(self, entry: audit.NewAudit, statement: Statement[Any] | Command) -> int:
        """Run a statement and, if it changed anything, write its audit entry. Return the number of rows changed."""
        async with self._database.transaction(entry.action) as transaction:
            if isinstance(statement, Statement):
                changed = len(await transaction.rows(statement))
            else:
                await transaction.run(statement)
                changed = 1
            if changed:
                await transaction.run(audit.add([entry]))
        return changed


def _next(items: list[Any], limit: int, found: int) -> str | None:
    return cursors.encode_moment(items[-1].created_at, items[-1].id) if found > limit else None
