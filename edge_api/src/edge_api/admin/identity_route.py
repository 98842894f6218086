"""Calls on join tokens and credentials."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from edge_api.admin.parameters import LIMIT, AdminService, Cursor, Limit, WhoCalls
from edge_protocol.admin import (
    CredentialCreated,
    CredentialPage,
    CredentialPatch,
    CredentialRequest,
    CredentialView,
    TokenCreated,
    TokenPage,
    TokenRequest,
)
from edge_protocol.limits import WORKER_NAME_MAX

router = APIRouter(tags=["identity"])


@router.post("/tokens", status_code=201)
async def create_token(admin: AdminService, caller: WhoCalls, body: TokenRequest) -> TokenCreated:
    """Make a join token; it is shown this once."""
    return await admin.identity.create_token(caller, body)


@router.get("/tokens")
async def list_tokens(admin: AdminService, caller: WhoCalls, limit: Limit = LIMIT, cursor: Cursor = None) -> TokenPage:
    """List join tokens, the newest first, without their secrets."""
    return await admin.identity.tokens(caller, limit, cursor)


@router.delete("/tokens/{token_id}", status_code=204)
async def revoke_token(admin: AdminService, caller: WhoCalls, token_id: UUID) -> Response:
    """Revoke a join token. Workers that have enrolled with it stay."""
    await admin.identity.revoke_token(caller, token_id)
    return Response(status_code=204)


@router.post("/credentials", status_code=201)
async def create_credential(admin: AdminService, caller: WhoCalls, body: CredentialRequest) -> CredentialCreated:
    """Make a credential of role admin or read; it is shown this once."""
    return await admin.identity.create_credential(caller, body)


@router.get("/credentials")
async def list_credentials(
    admin: AdminService,
    caller: WhoCalls,
    worker: Annotated[str | None, Query(max_length=WORKER_NAME_MAX)] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> CredentialPage:
    """List credentials, the newest first, without their secrets."""
    return await admin.identity.credentials(caller, worker, limit, cursor)


@router.get("/credentials/{credential_id}")
async def get_credential(admin: AdminService, caller: WhoCalls, credential_id: UUID) -> CredentialView:
    """Get one credential, without its secret."""
    return await admin.identity.credential(caller, credential_id)


@router.patch("/credentials/{credential_id}")
async def rescope_credential(
    admin: AdminService, caller: WhoCalls, credential_id: UUID, body: CredentialPatch
) -> CredentialView:
    """Change which queues a worker's credential grants, from the next claim on."""
    return await admin.identity.rescope(caller, credential_id, body.queues)


@router.delete("/credentials/{credential_id}", status_code=204)
async def revoke_credential(admin: AdminService, caller: WhoCalls, credential_id: UUID) -> Response:
    """Revoke a credential; what it has open ends within a second, on whatever replica it is."""
    await admin.identity.revoke(caller, credential_id)
    return Response(status_code=204)
