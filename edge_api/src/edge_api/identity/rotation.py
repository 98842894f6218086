"""Trade a worker's credential for its successor, before it expires."""

from datetime import UTC, datetime, timedelta

from edge_api.database.pool import Database
from edge_api.errors import RefusedError
from edge_api.identity import tokens
from edge_api.identity.authenticator import Principal
from edge_api.settings import ApiSettings
from edge_protocol.rest import RotateResponse
from edge_store.identity import audit, credentials


class Rotation:
    """Makes successors."""

    def __init__(self, database: Database, settings: ApiSettings) -> None:
        self._database = database
        self._settings = settings

    async def rotate(self, principal: Principal) -> RotateResponse:
        """Return a fresh credential of the same worker; the one shown stays good for the overlap.

        Raises:
            RefusedError: the credential was revoked or has expired a moment ago (401).

        """
        token = tokens.mint(tokens.CREDENTIAL)
        expires_at = datetime.now(UTC) + timedelta(seconds=self._settings.credential_lifetime_s)
        overlap = timedelta(seconds=self._settings.credential_overlap_s)
        statement = credentials.rotate(principal.credential_id, token.id, token.digest, expires_at, overlap)
        async with self._database.transaction("rotate") as connection:
            row = (await connection.execute(statement)).one_or_none()
            if row is None:
                raise RefusedError(
                    401, "credential_expired", "The credential is not good any more. Enrol the worker again."
                )
            entry = audit.NewAudit(
                f"worker:{principal.worker}",
                "credential.rotate",
                f"credential/{principal.credential_id}",
                {"successor": str(token.id), "previous_good_until": row.previous_good_until.isoformat()},
            )
            await connection.execute(audit.add([entry]))
        return RotateResponse(
            worker=principal.worker,
            credential=token.text,
            credential_id=token.id,
            expires_at=row.expires_at,
            team=row.team,
            queues=row.queues,
            previous_good_until=row.previous_good_until,
        )
