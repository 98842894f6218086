"""The admin API as an application to be mounted, with its OpenAPI description."""

from typing import Any, Final

from fastapi import FastAPI, Request, Response

from edge_api import __version__
from edge_api.admin import changes_route as changes
from edge_api.admin import identity_route as identity
from edge_api.admin import jobs_route as jobs
from edge_api.admin import scopes as bounds
from edge_api.admin import workers_route as workers
from edge_api.admin.callers import Caller
from edge_api.admin.gate import Gate
from edge_api.admin.services import Admin
from edge_api.errors import OutOfScopeError
from edge_api.http import problems
from edge_api.http.openapi import PROBLEMS, describe
from edge_api.identity.refusals import Refusals
from edge_protocol.admin import ADMIN_PATH, OPENAPI_PATH

DESCRIPTION: Final = (
    "Manages a fleet of edge workers: for people, scripts and the operator. Every request except for this description "
    "carries `Authorization: Bearer CREDENTIAL` with role admin or, for GET, role read. `edge-api credential create` "
    "creates the first one. A credential can be for a part of the fleet: for other workers the answer is 404, as if "
    "they did not exist, and a request beyond it gets 403 `out_of_scope`. Every change is in the audit trail."
)


async def _on_out_of_scope(request: Request, error: Any) -> Response:
    caller: Caller = request.state.caller
    what = f"{request.method} {request.url.path[:200]}: {error.detail}"
    refusals: Refusals = request.app.state.refusals
    refusals.note(caller.actor, bounds.CODE, request.headers.get("authorization"), what)
    return problems.refused(error)


def make_admin_app(admin: Admin, refusals: Refusals) -> FastAPI:
    """Return the application."""
    app = FastAPI(
        title="Airflow Edge admin API",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=OPENAPI_PATH.removeprefix(ADMIN_PATH),
        responses=PROBLEMS,
    )
    app.state.admin = admin
    app.state.refusals = refusals
    for router in (workers.router, jobs.router, identity.router, changes.router):
        app.include_router(router)
    problems.install(app)
    app.add_exception_handler(OutOfScopeError, _on_out_of_scope)
    app.add_middleware(Gate, callers=admin.callers, refusals=refusals, open_path=OPENAPI_PATH)
    describe(app, ADMIN_PATH, {"type": "http", "scheme": "bearer"})
    return app
