"""`POST enroll`: trade a join token for a worker's own credential."""

import fnmatch
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from fastapi import APIRouter, Request

from edge_api.database.pool import Database
from edge_api.errors import RefusedError
from edge_api.http.address import address_of
from edge_api.identity import tokens
from edge_api.identity.authenticator import Authenticator
from edge_api.identity.refusals import Refusals
from edge_api.settings import ApiSettings
from edge_protocol.rest import ENROLL_PATH, EnrollRequest, EnrollResponse
from edge_store.identity import audit, credentials
from edge_store.workers import agents

_NEW_TOKEN = "Ask for a new one: edge-api token create."  # noqa: S105  (a sentence, no secret)


class Enrolment:
    """Checks join tokens and creates credentials."""

    def __init__(
        self, database: Database, settings: ApiSettings, authenticator: Authenticator, refusals: Refusals
    ) -> None:
        self._database = database
        self._settings = settings
        self._authenticator = authenticator
        self._refusals = refusals
        self.router = APIRouter()
        self.router.add_api_route(ENROLL_PATH, self.enroll, methods=["POST"], status_code=201)

    async def enroll(self, request: Request, body: EnrollRequest) -> EnrollResponse:
        """Trade a join token for a worker credential."""
        address = address_of(request)
        self._authenticator.check_brake(address)
        try:
            return await self._enroll(body)
        except RefusedError as refusal:
            self._refusals.note(address, refusal.code, body.join_token, f"enrolment of {body.worker}")
            if refusal.status == 401:
                self._authenticator.note_failure(address)
            raise

    async def _enroll(self, request: EnrollRequest) -> EnrollResponse:
        """Use up a join token and return a new credential.

        Raises:
            RefusedError: token unknown (401), expired, revoked or not for this name or queue (403), name taken (409).

        """
        token = tokens.parse(request.join_token.strip(), tokens.JOIN_TOKEN)
        if token is None:
            raise RefusedError(401, "join_token_invalid", f"This is not a join token. {_NEW_TOKEN}")
        row = await self._database.first(credentials.get_join_token(token.id))
        if row is None or not token.matches(row.secret_hash):
            raise RefusedError(401, "join_token_unknown", f"The join token is not known here. {_NEW_TOKEN}")
        queues = _granted(row, request)
        await self._check_name(request.worker)
        return await self._make(row, request.worker, queues)

    async def _check_name(self, worker: str) -> None:
        window = self._settings.silence_window
        owner = await self._database.first(agents.name_owner(worker, window))
        if owner is not None and owner.live:
            raise RefusedError(
                409,
                "name_taken",
                f"A live worker has the name {worker}. Choose another name, or stop that worker first; if it is gone "
                f"already, its name is free {window.total_seconds():.0f} seconds after its last sign of life, or when "
                "the outage tolerance of its running tasks has ended.",
            )

    async def _make(self, row: credentials.JoinTokenSecret, worker: str, queues: list[str] | None) -> EnrollResponse:
        credential = tokens.mint(tokens.CREDENTIAL)
        new = credentials.NewCredential(
            id=credential.id,
            secret_hash=credential.digest,
            role="worker",
            worker_name=worker,
            identity=uuid4(),
            team=row.team,
            queues=queues,
            expires_at=datetime.now(UTC) + timedelta(seconds=self._settings.credential_lifetime_s),
            connections=row.connections,
            variables=row.variables,
        )
        async with self._database.transaction("enroll") as transaction:
            if await transaction.first(credentials.use_join_token(row.id)) is None:
                raise RefusedError(403, "join_token_used_up", f"The join token has no uses left. {_NEW_TOKEN}")
            await transaction.run(credentials.add_credential(new))
            detail = {
                "credential": str(credential.id),
                "queues": queues,
                "team": row.team,
                "connections": row.connections,
                "variables": row.variables,
            }
            entry = audit.NewAudit(f"token:{row.id}", "worker.enroll", f"worker/{worker}", detail)
            await transaction.run(audit.add([entry]))
        return EnrollResponse(
            worker=worker,
            credential=credential.text,
            credential_id=credential.id,
            expires_at=new.expires_at,
            team=row.team,
            queues=queues,
        )


def _granted(row: credentials.JoinTokenSecret, request: EnrollRequest) -> list[str] | None:
    """Return the queues that the credential is to grant; None: any."""
    if row.revoked_at is not None:
        raise RefusedError(403, "join_token_revoked", f"The join token was revoked. {_NEW_TOKEN}")
    if row.expired:
        raise RefusedError(403, "join_token_expired", f"The join token has expired. {_NEW_TOKEN}")
    if not fnmatch.fnmatchcase(request.worker, row.worker_pattern):
        raise RefusedError(
            403,
            "worker_name_not_allowed",
            f"The join token is only good for worker names like {row.worker_pattern}. Choose such a name. "
            "Or ask for a token with another --name-pattern.",
        )
    if row.queues is None:
        return request.queues
    extra = sorted(set(request.queues or ()) - set(row.queues))
    if extra:
        raise RefusedError(
            403,
            "queue_not_granted",
            f"The join token does not grant the queue {extra[0]}. Leave it out, or ask for a token with it.",
        )
    return request.queues if request.queues is not None else list(row.queues)
