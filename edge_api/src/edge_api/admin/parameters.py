"""Parameters that many calls of the admin API share."""

from typing import Annotated, Final

from fastapi import Depends, Path, Query, Request

from edge_api.admin.callers import Caller
from edge_api.admin.cursors import CURSOR_MAX
from edge_protocol.admin import PAGE_DEFAULT, PAGE_MAX
from edge_protocol.limits import WORKER_NAME_MAX, WORKER_NAME_PATTERN


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


WhoCalls = Annotated[Caller, Depends(_caller)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="Maximum number of items in a page.")]
Cursor = Annotated[str | None, Query(max_length=CURSOR_MAX, description="`next` of the previous page.")]
Name = Annotated[
    str,
    Path(
        max_length=WORKER_NAME_MAX, pattern=WORKER_NAME_PATTERN, description="Name of a worker.", examples=["plant-7"]
    ),
]
LIMIT: Final = PAGE_DEFAULT
