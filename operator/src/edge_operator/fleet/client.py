"""The admin calls that the operator makes. All may be repeated: the edge API is told what is wanted, not what to do."""

from typing import Any
from urllib.parse import quote
from uuid import UUID

from edge_operator.fleet.admin_api import FleetHttp
from edge_operator.fleet.errors import MissingError
from edge_operator.fleet.state import FleetState
from edge_protocol.admin import (
    QUEUES_PATH,
    TOKENS_PATH,
    WORKERS_PATH,
    MaintenanceRequest,
    QueueList,
    QueueView,
    TokenCreated,
    TokenRequest,
    WorkerPatch,
    WorkerView,
)


class FleetClient:
    """Calls of one edge API; each raises a `FleetError`. What an answer says of a worker is noted in the state."""

    def __init__(self, http: FleetHttp, state: FleetState) -> None:
        self._http = http
        self._state = state

    async def enter_maintenance(self, worker: str, comment: str) -> None:
        """Put a worker into maintenance, or change the comment."""
        body = MaintenanceRequest(comment=comment).model_dump(mode="json")
        await self._change("PUT", f"{_path(worker)}/maintenance", body)

    async def exit_maintenance(self, worker: str) -> None:
        """End maintenance."""
        await self._change("DELETE", f"{_path(worker)}/maintenance")

    async def request_shutdown(self, worker: str) -> None:
        """Ask a worker to drain and stop."""
        await self._change("PUT", f"{_path(worker)}/shutdown")

    async def cancel_shutdown(self, worker: str) -> None:
        """Take a request back that the worker has not followed yet."""
        await self._change("DELETE", f"{_path(worker)}/shutdown")

    async def patch(self, worker: str, change: WorkerPatch) -> None:
        """Change queues and slots of a running worker."""
        await self._change("PATCH", _path(worker), change.model_dump(mode="json", exclude_unset=True))

    async def revoke_credentials(self, worker: str) -> None:
        """Make all credentials of a worker invalid; its session ends at once."""
        try:
            await self._http.call("DELETE", f"{_path(worker)}/credentials")
        except MissingError:
            return

    async def remove(self, worker: str) -> None:
        """Remove a worker from the fleet; it may be gone already.

        Raises:
            RefusedError: status 409: it lives.

        """
        try:
            await self._http.call("DELETE", _path(worker))
        except MissingError:
            return

    async def create_token(self, request: TokenRequest) -> TokenCreated:
        """Make a join token."""
        return TokenCreated.model_validate(await self._http.call("POST", TOKENS_PATH, request.model_dump(mode="json")))

    async def revoke_token(self, token: UUID | str) -> None:
        """Make a join token invalid; it may be gone already."""
        try:
            await self._http.call("DELETE", f"{TOKENS_PATH}/{quote(str(token), safe='')}")
        except MissingError:
            return

    async def queues(self) -> list[QueueView]:
        """Return the backlog and room of all queues."""
        return QueueList.model_validate(await self._http.call("GET", QUEUES_PATH)).items

    async def _change(self, method: str, path: str, body: Any = None) -> None:
        view = WorkerView.model_validate(await self._http.call(method, path, body))
        known = self._state.get(view.name)
        if known is not None and known.revision <= view.revision:
            # Before the change stream tells: the same change must not be asked for twice.
            self._state.put(view)


def _path(worker: str) -> str:
    return f"{WORKERS_PATH}/{quote(worker, safe='')}"
