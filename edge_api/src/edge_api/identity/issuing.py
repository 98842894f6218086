"""New join tokens and credentials as they are stored, and credentials as people see them.

Apart from the calls that use them, since commands use them too and start in half the time without the web framework.
"""

from datetime import UTC, datetime, timedelta

from edge_api.identity import tokens
from edge_protocol.admin import CredentialRequest, CredentialView, TokenRequest
from edge_store.identity import credentials


def new_join_token(token: tokens.Token, request: TokenRequest) -> credentials.NewJoinToken:
    """Return a new join token as it is stored."""
    return credentials.NewJoinToken(
        id=token.id,
        secret_hash=token.digest,
        worker_pattern=request.worker_pattern,
        queues=request.queues,
        team=request.team,
        uses_left=request.uses,
        connections=request.connections,
        variables=request.variables,
        expires_at=datetime.now(UTC) + timedelta(seconds=request.expires_s),
    )


def new_credential(token: tokens.Token, request: CredentialRequest) -> credentials.NewCredential:
    """Return a new credential for people or programs as it is stored."""
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
        on_behalf=request.on_behalf,
        connections=request.connections,
        variables=request.variables,
    )


def credential_view(row: credentials.CredentialRow) -> CredentialView:
    """Return a row of the store as people see it."""
    fields = {name: getattr(row, name) for name in CredentialView.model_fields if name != "worker"}
    return CredentialView(worker=row.worker_name, **fields)
