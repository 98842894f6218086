"""The backend as an application that the api-server mounts: its routes, its files, and errors in words."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from edge_protocol.rest import Problem
from edge_provider.admin_settings import sites_url
from edge_provider.ui.access import WhoLooks
from edge_provider.ui.audit import AuditPages
from edge_provider.ui.client import EdgeApi, EdgeApiError
from edge_provider.ui.fleet import Fleet
from edge_provider.ui.jobs import JobPages
from edge_provider.ui.join_tokens import JoinTokenPages
from edge_provider.ui.workers import WorkerPages

MEDIA_TYPE: Final = "application/problem+json"
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {"default": {"model": Problem, "description": "What is wrong."}}

log = logging.getLogger(__name__)


class Session(BaseModel):
    """Who looks, and what the page offers them."""

    user: str
    may_act: bool
    may_mint: bool
    may_audit: bool
    teams: list[str] | None
    """Teams whose workers they see. None: all."""
    sites_url: str | None
    """URL of the edge API that sites call: `[edge] api_url`."""
    version: str


def make_app(static: Path) -> FastAPI:
    """Return the application; nothing is called before somebody looks."""
    api = EdgeApi()
    fleet = Fleet(api)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await fleet.stop()
        await api.close()

    app = FastAPI(title="Airflow Edge fleet page", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    router = APIRouter(prefix="/api", responses=PROBLEMS)
    router.get("/session")(_session)
    for part in (WorkerPages(api, fleet), JobPages(api, fleet), JoinTokenPages(api), AuditPages(api)):
        router.include_router(part.router)
    app.include_router(router)
    # In a new installation that was not built yet, only the files are missing.
    app.mount("/static", _Files(directory=static, check_dir=False))
    app.add_exception_handler(EdgeApiError, _on_edge_api_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_unexpected)
    return app


async def _session(viewer: WhoLooks) -> Session:
    """Return who looks and what they may do."""
    return Session(
        user=viewer.name,
        may_act=await viewer.may_act(),
        may_mint=await viewer.may_mint(),
        may_audit=await viewer.may_audit(),
        teams=None if viewer.teams is None else sorted(viewer.teams),
        sites_url=sites_url(),
        version=version("airflow-edge-provider"),
    )


class _Files(StaticFiles):
    """Files whose names have a hash of their content are never asked for twice."""

    async def get_response(self, path: str, scope: Any) -> Response:
        answer = await super().get_response(path, scope)
        if path.startswith("edge-") and path.endswith(".js"):
            answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return answer


def _answer(problem: Problem) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(problem.model_dump_json(), problem.status, headers, MEDIA_TYPE)


async def _on_edge_api_error(_: Request, error: Any) -> Response:
    return _answer(error.problem)


async def _on_http_error(_: Request, error: Any) -> Response:
    """Airflow's own refusals: 401, and 403 for a session that is invalid."""
    ended = error.status_code == 401 or error.detail == "Invalid JWT token"
    detail = "Your session has ended: log in again." if ended else str(error.detail)
    return _answer(
        Problem(
            title="Session ended" if ended else "Refused",
            status=401 if ended else error.status_code,
            detail=detail,
            code="session_ended" if ended else "refused",
        )
    )


async def _on_invalid(_: Request, error: Any) -> Response:
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"][1:]) or "request"
    return _answer(Problem(title="Invalid", status=422, detail=f"{where}: {found['msg']}", code="invalid"))


async def _on_unexpected(_: Request, error: Any) -> Response:
    log.error("the fleet page's backend failed", exc_info=error)
    return _answer(
        Problem(
            title="Unexpected error",
            status=500,
            detail="Something unexpected happened; the api-server's log says what.",
            code="unexpected",
        )
    )
