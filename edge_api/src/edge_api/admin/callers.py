"""Who calls the admin API, and what the role allows: checked in one place, so that no route can forget it.

Each call looks its credential up: administrators are few, and a revocation counts at once.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from edge_api.database.pool import Database
from edge_api.errors import DatabaseAwayError, RefusedError
from edge_api.http.address import address_of
from edge_api.http.problems import database_away, refused
from edge_api.identity import tokens
from edge_api.identity.authenticator import FailureBrake
from edge_api.identity.refusals import Refusals
from edge_api.metrics import Metrics
from edge_protocol.admin import ON_BEHALF_HEADER, InvalidNameError, decode_name
from edge_protocol.frames import BY_HEALTH, BY_HOST
from edge_store.identity import credentials
from edge_store.identity.scopes import Scope

KNOWN_MOST: Final = 1000
_READS: Final = frozenset({"GET", "HEAD"})

_HOW_TO_FIX: Final = "Create one: edge-api credential create --role admin."
_SCOPE_REQUIRED: Final = (
    "This address is for sites: it refuses credentials for the whole fleet. Use one for a part of the fleet, as "
    "`edge-api credential create --worker-pattern 'NAME-*'` makes it. Or call the edge API's main port "
    "(EDGE_API_PORT), inside the control plane; with the chart that is the Service RELEASE-edge-api, port 8800."
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A person or program with a credential of role admin or read."""

    credential_id: UUID
    role: str
    label: str | None
    expires_at: datetime
    scope: Scope
    names_people: bool
    """Its calls may name the person behind them."""
    on_behalf_of: str | None = None
    """The person whom the program with this credential names, if any."""

    @property
    def actor(self) -> str:
        """The caller's name in the audit trail."""
        credential = f"{self.role}:{self.label or ''}:{self.credential_id}"
        return credential if self.on_behalf_of is None else f"user:{self.on_behalf_of} via {credential}"

    @property
    def name(self) -> str:
        """The caller's name for people; it is never that of a worker, which may end the maintenance that it began."""
        name = self.on_behalf_of or self.label or f"{self.role} {self.credential_id}"
        return f"user {name}" if name in (BY_HOST, BY_HEALTH) else name


class Callers:
    """Finds the caller behind an `Authorization` header."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._brake = FailureBrake()
        self._known: OrderedDict[UUID, bytes] = OrderedDict()
        """Credentials that were valid at their last call: failures of others at their address do not block them."""

    async def find(
        self,
        authorization: str | None,
        address: str,
        *,
        writes: bool,
        scope_required: bool,
        on_behalf_of: str | None = None,
    ) -> Caller:
        """Return who calls; `on_behalf_of` is the header that names a person.

        Raises:
            RefusedError: no valid credential (401), its role or scope does not allow the call, or it may not name
                a person (403), the name is invalid (422), too many failures (429).
            DatabaseAwayError: it can't be looked up now.

        """
        try:
            caller = await self._find(authorization, address, writes=writes)
            _check_scope(caller, required=scope_required)
        except RefusedError as refusal:
            self._metrics.failed_authentications.inc()
            if refusal.status == 401:
                self._brake.failed(address, time.monotonic())
            raise
        return caller if on_behalf_of is None else _named(caller, on_behalf_of)

    async def _find(self, authorization: str | None, address: str, *, writes: bool) -> Caller:
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise RefusedError(401, "credential_missing", f"The call carries no admin credential. {_HOW_TO_FIX}")
        token = tokens.parse(text.strip(), tokens.ADMIN) or tokens.parse(text.strip(), tokens.CREDENTIAL)
        if token is None:
            raise RefusedError(401, "credential_invalid", f"This is not an admin credential. {_HOW_TO_FIX}")
        known = self._known.pop(token.id, None)
        if (known is None or not token.matches(known)) and self._brake.exhausted(address, time.monotonic()):
            raise RefusedError(
                429, "too_many_failures", "Too many calls from this address failed to authenticate. Wait a few seconds."
            )
        row = await self._database.first(credentials.get_credential(token.id))
        if row is None or not token.matches(row.secret_hash):
            raise RefusedError(401, "credential_unknown", f"The credential is not known here. {_HOW_TO_FIX}")
        caller = _checked(row, writes=writes)
        self._known[token.id] = row.secret_hash
        while len(self._known) > KNOWN_MOST:
            self._known.popitem(last=False)
        return caller


def _named(caller: Caller, header: str) -> Caller:
    """Return the caller with the person whom it names."""
    if not caller.names_people:
        raise RefusedError(
            403,
            "on_behalf_refused",
            f"This credential may not name the person behind a call. Leave out the header {ON_BEHALF_HEADER}, or "
            "create a credential for that: edge-api credential create --on-behalf.",
        )
    try:
        return replace(caller, on_behalf_of=decode_name(header))
    except InvalidNameError as error:
        raise RefusedError(422, "on_behalf_invalid", f"{ON_BEHALF_HEADER}: {error}") from error


def _checked(row: credentials.CredentialSecret, *, writes: bool) -> Caller:
    if row.revoked_at is not None:
        raise RefusedError(401, "credential_revoked", f"The credential was revoked. {_HOW_TO_FIX}")
    if row.expires_at <= datetime.now(UTC):
        raise RefusedError(401, "credential_expired", f"The credential has expired. {_HOW_TO_FIX}")
    if row.role not in ("admin", "read"):
        raise RefusedError(403, "wrong_role", f"A worker's credential does not open the admin API. {_HOW_TO_FIX}")
    if writes and row.role != "admin":
        raise RefusedError(403, "read_only", f"A credential of role read allows only GET. {_HOW_TO_FIX}")
    granted = (None if names is None else tuple(names) for names in (row.queues, row.connections, row.variables))
    scope = Scope(row.worker_pattern, row.team, *granted)
    return Caller(row.id, row.role, row.label, row.expires_at, scope, row.on_behalf)


def _check_scope(caller: Caller, *, required: bool) -> None:
    if required and caller.scope.whole_fleet:
        raise RefusedError(403, "scope_required", _SCOPE_REQUIRED)


class Gate:
    """Finds the caller of each request, and answers requests that are refused."""

    def __init__(
        self, app: ASGIApp, callers: Callers, refusals: Refusals, open_paths: frozenset[str], *, scope_required: bool
    ) -> None:
        self._app = app
        self._callers = callers
        self._refusals = refusals
        self._open_paths = open_paths
        self._scope_required = scope_required

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            scope.setdefault("state", {})["caller"] = await self._caller(request)
        except RefusedError as refusal:
            await refused(refusal)(scope, receive, send)
        except DatabaseAwayError:
            await database_away()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _caller(self, request: Request) -> Caller:
        address = address_of(request)
        people = request.headers.getlist(ON_BEHALF_HEADER)
        try:
            return await self._callers.find(
                request.headers.get("authorization"),
                address,
                writes=request.method not in _READS,
                scope_required=self._scope_required,
                # Two names are no name: the comma is refused.
                on_behalf_of=",".join(people) if people else None,
            )
        except RefusedError as refusal:
            what = f"{request.method} {request.url.path[:200]}"
            self._refusals.note(address, refusal.code, request.headers.get("authorization"), what)
            raise
