"""The admin API as an application to be mounted, with its OpenAPI description."""

from typing import Any, Final

from fastapi import FastAPI, Request, Response

from edge_api import __version__
from edge_api.admin import scopes
from edge_api.admin.audit import AuditAdmin
from edge_api.admin.callers import Caller, Callers, Gate
from edge_api.admin.changes import ChangesAdmin
from edge_api.admin.history import HistoryAdmin
from edge_api.admin.identity import IdentityAdmin
from edge_api.admin.jobs import JobsAdmin
from edge_api.admin.summary import SummaryAdmin
from edge_api.admin.workers import WorkersAdmin
from edge_api.database.pool import Database
from edge_api.errors import OutOfScopeError
from edge_api.fleet.changes import ChangeFeed
from edge_api.http import problems
from edge_api.http.docs import docs_router, open_paths
from edge_api.http.openapi import PROBLEMS, describe
from edge_api.identity.refusals import Refusals
from edge_api.metrics import Metrics
from edge_protocol.admin import ADMIN_PATH, OPENAPI_PATH

DESCRIPTION: Final = (
    "For people, the operator and other programs that manage a fleet of edge workers. Every call except this "
    "description needs `Authorization: Bearer CREDENTIAL` with role admin, or with role read for GET. Create the first "
    "credential with `edge-api credential create`. A scoped credential covers a part of the fleet: everything else is "
    "answered as if it did not exist (404), and requests beyond it are refused (403 `out_of_scope`). Every change is "
    "in the audit trail. A program that many people use names the person behind a call with the header "
    "`X-Edge-On-Behalf-Of` (percent-encoded UTF-8), if its credential was created for that (`on_behalf`)."
)


class AdminApi:
    """The calls, and the change feed behind one of them."""

    def __init__(self, database: Database, metrics: Metrics, heartbeat_interval_s: float, refusals: Refusals) -> None:
        workers = WorkersAdmin(database, heartbeat_interval_s, refusals)
        self.changes = ChangeFeed(database, workers.view)
        self._callers = Callers(database, metrics)
        self._refusals = refusals
        self._routers = [
            part.router
            for part in (
                workers,
                HistoryAdmin(database),
                JobsAdmin(database, workers),
                SummaryAdmin(database, heartbeat_interval_s),
                AuditAdmin(database),
                IdentityAdmin(database),
                ChangesAdmin(self.changes),
            )
        ]

    def app(self, *, scope_required: bool = False) -> FastAPI:
        """Return the application; `scope_required`: it refuses credentials for the whole fleet."""
        app = FastAPI(
            title="Airflow Edge admin API",
            version=__version__,
            description=DESCRIPTION,
            docs_url=None,
            redoc_url=None,
            openapi_url=OPENAPI_PATH.removeprefix(ADMIN_PATH),
            responses=PROBLEMS,
        )
        for router in self._routers:
            app.include_router(router)
        app.include_router(docs_router(app.title))
        problems.install(app)
        app.add_exception_handler(OutOfScopeError, self._on_out_of_scope)
        app.add_middleware(
            Gate,
            callers=self._callers,
            refusals=self._refusals,
            open_paths=frozenset({OPENAPI_PATH}) | open_paths(ADMIN_PATH),
            scope_required=scope_required,
        )
        describe(app, ADMIN_PATH, {"type": "http", "scheme": "bearer"})
        return app

    async def _on_out_of_scope(self, request: Request, error: Any) -> Response:
        caller: Caller = request.state.caller
        what = f"{request.method} {request.url.path[:200]}: {error.detail}"
        self._refusals.note(caller.actor, scopes.CODE, request.headers.get("authorization"), what)
        return problems.refused(error)
