"""What all routes of the admin API share: parameters and callers."""

from typing import Annotated, Final

from fastapi import Depends, Path, Query, Request

from edge_api.admin.callers import Caller
from edge_api.admin.cursors import CURSOR_MAX
from edge_api.admin.services import Admin
from edge_protocol.admin import PAGE_DEFAULT, PAGE_MAX
from edge_protocol.limits import WORKER_NAME_MAX, WORKER_NAME_PATTERN


def _admin(request: Request) -> Admin:
    admin: Admin = request.app.state.admin
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
