"""The admin API as an application to be mounted, with its OpenAPI description."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from edge_api import __version__
from edge_api.routes import problems
from edge_api.routes.admin import changes, identity, jobs, workers
from edge_api.routes.admin.common import PROBLEMS
from edge_api.routes.admin.gate import Gate
from edge_api.services.runtime import Runtime
from edge_protocol.admin import ADMIN_PATH, OPENAPI_PATH
from edge_protocol.rest import Problem

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
    app.openapi = lambda: _description(app)  # type: ignore[method-assign]
    return app


def _description(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI description; FastAPI knows neither the gate nor the shape of errors by itself."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            servers=[{"url": ADMIN_PATH}],
        )
        components = schema["components"]
        components["schemas"]["Problem"] = Problem.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"bearer": []}]
        app.openapi_schema = schema
    return app.openapi_schema
