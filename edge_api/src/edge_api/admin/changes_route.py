"""The change stream as server-sent events."""

from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from edge_api.admin.parameters import AdminService, WhoCalls
from edge_api.fleet.changes import Follower

router = APIRouter(tags=["changes"])

_EXAMPLE = (
    'event: reset\ndata: {}\n\nevent: worker\ndata: {"name": "plant-7", "state": "idle", …}\n\n'
    'id: 81240\nevent: ready\ndata: {}\n\nid: 81251\nevent: removed\ndata: {"name": "plant-7"}\n\n'
)


@router.get(
    "/changes",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events `reset`, `worker` (a WorkerView), `removed` and `ready`, without end.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
)
async def follow_changes(
    admin: AdminService,
    caller: WhoCalls,
    last_event_id: Annotated[str | None, Header(max_length=64, description="Where to go on from.")] = None,
) -> StreamingResponse:
    """Follow the fleet. Begins with the whole fleet without a Last-Event-ID, or with one that is too old."""
    events = await admin.changes.follow(Follower(caller.credential_id, caller.expires_at, caller.scope), last_event_id)
    # Proxies must pass events on as they come.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)
