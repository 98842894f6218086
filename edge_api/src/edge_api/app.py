"""The FastAPI application over a runtime."""

from fastapi import FastAPI

from edge_api.admin.app import make_admin_app
from edge_api.http import calls, problems
from edge_api.http.guard import Guard
from edge_api.http.limits import BodyLimit, Timing
from edge_api.identity import rotation_route as rotation
from edge_api.runtime import Runtime
from edge_api.transports import websocket
from edge_api.v1.app import V1_PATH, make_v1_app
from edge_protocol.admin import ADMIN_PATH


def make_app(runtime: Runtime) -> FastAPI:
    """Return the application; the caller runs the runtime's services beside it."""
    app = FastAPI(title="Airflow Edge API", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.runtime = runtime
    app.include_router(calls.router)
    app.include_router(rotation.router)
    app.include_router(websocket.router)
    app.mount(ADMIN_PATH, make_admin_app(runtime))
    app.mount(V1_PATH, make_v1_app(runtime))
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Guard, note=runtime.refusals.note)
    app.add_middleware(Timing, metrics=runtime.metrics)
    return app
