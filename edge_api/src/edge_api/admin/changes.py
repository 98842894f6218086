"""`/changes`: the change stream as server-sent events."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from edge_api.admin.parameters import WhoCalls
from edge_api.fleet.changes import ChangeFeed, Follower

_EXAMPLE: Final = (
    'event: reset\ndata: {}\n\nevent: worker\ndata: {"name": "plant-7", "state": "idle", …}\n\n'
    'id: 81240\nevent: ready\ndata: {}\n\nid: 81251\nevent: removed\ndata: {"name": "plant-7"}\n\n'
)

_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events `reset`, `worker` (a WorkerView), `removed` and `ready`, without end.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}


class ChangesAdmin:
    """Streams the changes of the fleet."""

    def __init__(self, feed: ChangeFeed) -> None:
        self._feed = feed
        self.router = APIRouter(tags=["changes"])
        self.router.get("/changes", response_class=StreamingResponse, responses=_RESPONSES)(self.follow_changes)

    async def follow_changes(
        self,
        caller: WhoCalls,
        last_event_id: Annotated[str | None, Header(max_length=64, description="Where to go on from.")] = None,
    ) -> StreamingResponse:
        """Follow the fleet. Begins with the whole fleet without a Last-Event-ID, or with one that is too old."""
        events = await self._feed.follow(Follower(caller.credential_id, caller.expires_at, caller.scope), last_event_id)
        # Proxies must pass events on as they come.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)
