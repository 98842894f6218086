"""`POST rotate`: trade a worker's credential for its successor, before it expires."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request

from edge_api.database.pool import Database
from edge_api.errors import RefusedError
from edge_api.http.address import address_of
from edge_api.identity import tokens
from edge_api.identity.authenticator import Authenticator, Principal
from edge_api.settings import ApiSettings
from edge_protocol.rest import ROTATE_PATH, RotateResponse
from edge_store.identity import audit, credentials


class Rotation:
    """Creates successors."""

    def __init__(self, database: Database, settings: ApiSettings, authenticator: Authenticator) -> None:
        self._database = database
        self._settings = settings
        self._authenticator = authenticator
        self.router = APIRouter()
        self.router.add_api_route(ROTATE_PATH, self.rotate, methods=["POST"], status_code=201)

    async def rotate(self, request: Request) -> RotateResponse:
        """Return a new credential of the calling worker; the present one stays valid for the overlap."""
        principal = await self._authenticator.worker(request.headers.get("authorization"), address_of(request))
        return await self._successor(principal)

    async def _successor(self, principal: Principal) -> RotateResponse:
        token = tokens.mint(tokens.CREDENTIAL)
        expires_at = datetime.now(UTC) + timedelta(seconds=self._settings.credential_lifetime_s)
        overlap = timedelta(seconds=self._settings.credential_overlap_s)
        statement = credentials.rotate(principal.credential_id, token.id, token.digest, expires_at, overlap)
        async with self._database.transaction("rotate") as transaction:
            row = await transaction.first(statement)
            if row is None:
                raise RefusedError(
                    401, "credential_expired", "The credential was revoked or has expired. Enrol the worker again."
                )
            entry = audit.NewAudit(
                f"worker:{principal.worker}",
                "credential.rotate",
                f"credential/{principal.credential_id}",
                {"successor": str(token.id), "previous_valid_until": row.previous_valid_until.isoformat()},
            )
            await transaction.run(audit.add([entry]))
        return RotateResponse(
            worker=principal.worker,
            credential=token.text,
            credential_id=token.id,
            expires_at=row.expires_at,
            team=row.team,
            queues=row.queues,
            previous_valid_until=row.previous_valid_until,
        )
