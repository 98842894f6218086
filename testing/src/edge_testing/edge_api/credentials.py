"""Credentials of administrators and workers, for calls to an edge API."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

import aiohttp

from edge_api.identity import tokens
from edge_api.identity.issuing import new_credential
from edge_protocol import rest
from edge_protocol.admin import CredentialRequest
from edge_store.identity import credentials
from edge_testing.database.db import Db
from edge_testing.edge_api.commands import join_token


def admin_credential(db: Db, role: Literal["admin", "read"] = "admin", expires_s: int = 3600, **bounds: Any) -> str:
    """Create a credential of an administrator called anna."""
    token = tokens.mint(tokens.ADMIN)
    request = CredentialRequest(role=role, label="anna", expires_s=expires_s, **bounds)
    db.run(credentials.add_credential(new_credential(token, request)))
    return token.text


def worker_credential(db: Db, name: str, **scopes: Any) -> str:
    """Create the credential of a worker as enrolment does."""
    token = tokens.mint(tokens.CREDENTIAL)
    values: dict[str, Any] = {
        "identity": uuid4(),
        "team": None,
        "queues": None,
        "expires_at": datetime.now(UTC) + timedelta(days=1),
        **scopes,
    }
    new = credentials.NewCredential(token.id, token.digest, "worker", name, **values)
    db.run(credentials.add_credential(new))
    return token.text


async def enroll(url: str, database: str, name: str, *options: str) -> str:
    """Enrol a worker and return its credential."""
    body = {"join_token": join_token(database, *options), "worker": name}
    async with aiohttp.ClientSession() as http, http.post(f"{url}{rest.ENROLL_PATH}", json=body) as answer:
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["credential"])


def bearer(credential: str) -> dict[str, str]:
    """Return the header that carries a credential."""
    return {"Authorization": f"Bearer {credential}"}
