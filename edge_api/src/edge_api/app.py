"""The web application over a runtime."""

from fastapi import FastAPI

from edge_api import __version__
from edge_api.http import problems
from edge_api.http.guard import Guard
from edge_api.http.limits import BodyLimit, Timing
from edge_api.runtime import Runtime
from edge_api.v1.app import V1_PATH, make_v1_app
from edge_protocol.admin import ADMIN_PATH
from edge_protocol.frames import PROTOCOL_MAX, PROTOCOL_MIN
from edge_protocol.rest import INFO_PATH, ApiInfo


async def info() -> ApiInfo:
    """Describe this service: how a worker recognises the URL of an edge API."""
    return ApiInfo(version=__version__, protocol_min=PROTOCOL_MIN, protocol_max=PROTOCOL_MAX)


def make_app(runtime: Runtime) -> FastAPI:
    """Return the application of the main port; the caller runs the runtime's services beside it."""
    app = _make_app(runtime, runtime.admin.app())
    for router in runtime.probes:
        app.include_router(router)
    return app


def make_site_app(runtime: Runtime) -> FastAPI:
    """Return the application of the site port: no probes, no metrics, and no credentials for the whole fleet."""
    return _make_app(runtime, runtime.admin.app(scope_required=True))


def _make_app(runtime: Runtime, admin: FastAPI) -> FastAPI:
    app = FastAPI(title="Airflow Edge API", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route(INFO_PATH, info)
    for router in runtime.routers:
        app.include_router(router)
    app.mount(ADMIN_PATH, admin)
    app.mount(V1_PATH, make_v1_app(runtime.v1_tokens, runtime.v1_workers, runtime.v1_jobs, runtime.refusals))
    problems.install(app)
    app.add_middleware(BodyLimit, held=runtime.held, forwarded_max=runtime.settings.execution_body_max_bytes)
    app.add_middleware(Guard, note=runtime.refusals.note)
    app.add_middleware(Timing, metrics=runtime.metrics)
    return app
