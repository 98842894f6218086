"""What all routes of the admin API share: parameters, callers, and how errors are described."""

from typing import Annotated, Any, Final

from fastapi import Depends, Path, Query, Request

from edge_api.routes.problems import MEDIA_TYPE
from edge_api.services.admin import Admin
from edge_api.services.admin.callers import Caller
from edge_api.services.admin.cursors import CURSOR_MAX
from edge_protocol.admin import PAGE_DEFAULT, PAGE_MAX
from edge_protocol.limits import WORKER_NAME_MAX, WORKER_NAME_PATTERN
from edge_protocol.rest import Problem


def _admin(request: Request) -> Admin:
    admin: Admin = request.app.state.runtime.admin
    return admin


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


AdminService = Annotated[Admin, Depends(_admin)]
WhoCalls = Annotated[Caller, Depends(_caller)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="Most items of a page.")]
Cursor = Annotated[str | None, Query(max_length=CURSOR_MAX, description="`next` of the page before.")]
Name = Annotated[
    str,
    Path(
        max_length=WORKER_NAME_MAX, pattern=WORKER_NAME_PATTERN, description="Name of a worker.", examples=["plant-7"]
    ),
]
LIMIT: Final = PAGE_DEFAULT


def _described(text: str) -> dict[str, Any]:
    return {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    401: _described("No credential, or one that is not good."),
    403: _described("The credential's role does not allow this."),
    404: _described("There is no such thing."),
    405: _described("The path does not take this method."),
    409: _described("It is in a state that does not allow this."),
    413: _described("The body is too large."),
    415: _described("The body is compressed."),
    422: _described("The request is wrong; the detail names the field."),
    429: _described("Too many calls from this address failed to authenticate."),
    503: _described("The database is away, or this replica stops."),
}
"""Every call may answer with these."""

SCHEMA_OF_PROBLEM: Final = Problem
