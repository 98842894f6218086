"""Nobody gets past without a credential: one place, so that no route can forget it."""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from edge_api.admin.callers import Caller, Callers
from edge_api.errors import DatabaseAwayError, RefusedError
from edge_api.http.address import address_of
from edge_api.http.problems import database_away, refused
from edge_api.identity.refusals import Refusals

_READS: Final = frozenset({"GET", "HEAD"})


class Gate:
    """Finds the caller of each request, and answers for those who may not pass."""

    def __init__(self, app: ASGIApp, callers: Callers, refusals: Refusals, open_path: str) -> None:
        self._app = app
        self._callers = callers
        self._refusals = refusals
        self._open_path = open_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] == self._open_path:
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
        try:
            return await self._callers.find(
                request.headers.get("authorization"), address, writes=request.method not in _READS
            )
        except RefusedError as refusal:
            what = f"{request.method} {request.url.path[:200]}"
            self._refusals.note(address, refusal.code, request.headers.get("authorization"), what)
            raise
