"""A small client of the admin API, configured by Airflow's configuration."""

from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from edge_protocol.admin import (
    WORKERS_PATH,
    BulkRequest,
    BulkResponse,
    BulkResult,
    WorkerFilter,
    WorkerPage,
    WorkerView,
    worker_maintenance_path,
    worker_path,
    worker_shutdown_path,
)
from edge_protocol.rest import Problem
from edge_provider.admin_settings import SettingsError, admin_settings
from edge_provider.commands.common import CommandError, UsageError

Model = TypeVar("Model", bound=BaseModel)

_TIMEOUT_S = 30.0


class AdminClient:
    """Calls of the admin API. Every method raises `CommandError` if the API refuses the call or can't be reached."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT_S, follow_redirects=False
        )

    @classmethod
    def from_config(cls) -> Self:
        """Return a client for the edge API that is set in Airflow's configuration.

        Raises:
            UsageError: The URL or the token is missing or invalid.

        """
        try:
            settings = admin_settings()
        except SettingsError as error:
            raise UsageError(str(error)) from error
        return cls(settings.url, settings.token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def workers(self, selection: WorkerFilter) -> list[WorkerView]:
        """Return all workers that a filter selects, by name."""
        params: dict[str, Any] = selection.model_dump(mode="json", exclude_none=True)
        found: list[WorkerView] = []
        while True:
            page = self._parse(WorkerPage, self._call("GET", WORKERS_PATH, params=params))
            found += page.items
            if page.next is None:
                return found
            params["cursor"] = page.next

    def worker(self, name: str) -> WorkerView:
        """Return one worker."""
        return self._parse(WorkerView, self._call("GET", worker_path(name)))

    def request_maintenance(self, name: str, comment: str) -> None:
        """Request maintenance, or change its comment."""
        self._call("PUT", worker_maintenance_path(name), json={"comment": comment})

    def exit_maintenance(self, name: str) -> None:
        """End a worker's maintenance."""
        self._call("DELETE", worker_maintenance_path(name))

    def shutdown(self, name: str) -> None:
        """Request that a worker drains and stops."""
        self._call("PUT", worker_shutdown_path(name))

    def remove(self, name: str) -> None:
        """Remove a worker that is offline or lost."""
        self._call("DELETE", worker_path(name))

    def adjust(self, name: str, **patch: Any) -> None:
        """Change queues and slots; `patch` has the fields of `WorkerPatch`."""
        self._call("PATCH", worker_path(name), json=patch)

    def bulk(self, request: BulkRequest) -> list[BulkResult]:
        """Apply one action to many workers."""
        body = request.model_dump(mode="json", exclude_none=True)
        return self._parse(BulkResponse, self._call("POST", f"{WORKERS_PATH}/bulk", json=body)).results

    def _call(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **more)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CommandError(
                f"the edge API at {self._url} cannot be reached: {reason}; check [edge] admin_api_url"
            ) from error
        if response.is_success:
            return response
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError as error:
            raise CommandError(
                f"{self._url} answered {response.status_code} but is not an edge API; check [edge] admin_api_url"
            ) from error
        raise CommandError(problem.detail)

    def _parse(self, model: type[Model], response: httpx.Response) -> Model:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise CommandError(f"{self._url} did not answer like an edge API; check [edge] admin_api_url") from error
