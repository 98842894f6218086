"""Errors as `application/problem+json` (RFC 9457), whatever raised them."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from edge_api.errors import BadDataError, DatabaseAwayError, RefusedError
from edge_protocol.rest import Problem

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger(__name__)


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error answer."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, code=code)
    return Response(body.model_dump_json(), status, headers, MEDIA_TYPE)


def refused(error: RefusedError) -> Response:
    """Return the answer to a refused request."""
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "10"}, 503: {"Retry-After": "1"}}
    return problem(error.status, error.code, error.detail, headers.get(error.status))


def database_away() -> Response:
    """Return the answer while the database is away."""
    return refused(RefusedError(503, "database_away", "The database is away. Try again in a moment."))


def install(app: FastAPI) -> None:
    """Let an application answer all its errors as problems."""
    app.add_exception_handler(RefusedError, _on_refused)
    app.add_exception_handler(DatabaseAwayError, _on_database_away)
    app.add_exception_handler(BadDataError, _on_bad_data)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_bug)


def _on_refused(_: Request, error: Any) -> Response:
    return refused(error)


def _on_database_away(_: Request, __: Exception) -> Response:
    return database_away()


def _on_bad_data(_: Request, __: Exception) -> Response:
    detail = "The database can't hold a value of the request. Leave out control characters and numbers out of range."
    return problem(422, "invalid_value", detail)


def _on_invalid(_: Request, error: Any) -> Response:
    """Name the first wrong field, never its value: it may be a token."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    return problem(422, "invalid_request", f"{where}: {first['msg']}")


def _on_http(_: Request, error: Any) -> Response:
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    details = {
        404: "There is nothing at this path. The worker protocol is at /edge_worker/v2/.",
        405: "The path does not support this method.",
    }
    return problem(error.status_code, code, details.get(error.status_code, str(error.detail)), error.headers)


def _on_bug(request: Request, error: Exception) -> Response:
    # Starlette logs the exception itself after this.
    log.error("a call failed: %s", type(error).__name__, extra={"path": request.url.path})
    return problem(500, "internal_error", "The edge API has failed at this call; its log says why.")
