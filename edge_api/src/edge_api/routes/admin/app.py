"""The admin API as an application to be mounted, with its OpenAPI description."""

from typing import Final

from fastapi import FastAPI

from edge_api import __version__
from edge_api.routes import problems
from edge_api.routes.admin import changes, identity, jobs, workers
from edge_api.routes.admin.gate import Gate
from edge_api.routes.described import PROBLEMS, describe
from edge_api.services.runtime import Runtime
from edge_protocol.admin import ADMIN_PATH, OPENAPI_PATH

DESCRIPTION: Final = (
    "What people, the operator and the web UI do with a fleet of edge workers. Every call but this description carries "
    "`Authorization: Bearer CREDENTIAL` of role admin, or of role read for GET. The first one is made by "
    "`edge-api credential create`. Every change is in the audit trail."
)


def make_admin_app(runtime: Runtime) -> FastAPI:
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
    app.state.runtime = runtime
    for router in (workers.router, jobs.router, identity.router, changes.router):
        app.include_router(router)
    problems.install(app)
    app.add_middleware(Gate, runtime=runtime, open_path=OPENAPI_PATH)
    describe(app, ADMIN_PATH, {"type": "http", "scheme": "bearer"})
    return app
