"""Calls of the admin API on behalf of Airflow's users, and every way in which they fail, in words for the page."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from edge_protocol.admin import ON_BEHALF_HEADER, InvalidNameError, encode_name
from edge_protocol.rest import Problem
from edge_provider.admin_settings import SettingsError, admin_settings

Model = TypeVar("Model", bound=BaseModel)

TIMEOUT_S: Final = 10.0
STREAM_SILENCE_S: Final = 40.0
"""The change stream sends a line at least every 15 s."""
STREAM_TYPE: Final = "text/event-stream"
_UNKNOWN_PATH: Final = ("not_found", "method_not_allowed")
"""Codes of an edge API that does not know a call at all; missing objects have codes of their own."""


class EdgeApiError(Exception):
    """A call did not succeed; `problem` says why and what to do."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(title=code, status=status, detail=detail, code=code)


def away(code: str, detail: str) -> EdgeApiError:
    """Return the error of an edge API that can't be used now."""
    return EdgeApiError(503, code, detail)


def other_version() -> EdgeApiError:
    """Return the error of an edge API that speaks in another form."""
    return away(
        "edge_api_version",
        "The edge API answers in a form that this page does not know. Give Airflow and the edge API the same "
        "version of Airflow Edge.",
    )


class EdgeApi:
    """An asynchronous client of the admin API. Every method raises `EdgeApiError`."""

    def __init__(self) -> None:
        self._http: httpx.AsyncClient | None = None
        self._making = asyncio.Lock()

    async def close(self) -> None:
        """Close its connections."""
        if self._http is not None:
            await self._http.aclose()

    async def get(self, model: type[Model], path: str, **params: Any) -> Model:
        """Read something; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return _parse(model, await self._call("GET", path, {}, params=given))

    async def write(
        self, model: type[Model], user: str, method: str, path: str, body: BaseModel | None = None
    ) -> Model:
        """Change something in a user's name and return the answer."""
        return _parse(model, await self._write(user, method, path, body))

    async def delete(self, user: str, path: str) -> None:
        """Delete something in a user's name."""
        await self._write(user, "DELETE", path, None)

    async def _write(self, user: str, method: str, path: str, body: BaseModel | None) -> httpx.Response:
        try:
            headers = {ON_BEHALF_HEADER: encode_name(user)}
        except InvalidNameError as error:
            raise EdgeApiError(422, "name_invalid", f"Your name can't be in the audit trail. {error}") from error
        # Fields that the page left out stay out: null means something else.
        content = None if body is None else body.model_dump_json(exclude_unset=True)
        if content is not None:
            headers["Content-Type"] = "application/json"
        return await self._call(method, path, headers, content=content)

    @asynccontextmanager
    async def stream(self, path: str, last_event_id: str | None) -> AsyncIterator[AsyncIterator[str]]:
        """Open a stream of server-sent events and yield its lines."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        http = await self._client()
        timeout = httpx.Timeout(TIMEOUT_S, read=STREAM_SILENCE_S)
        try:
            async with http.stream("GET", path, headers=headers, timeout=timeout) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise await self._refusal(answer)
                if not answer.headers.get("Content-Type", "").startswith(STREAM_TYPE):
                    raise other_version()
                yield answer.aiter_lines()
        except httpx.HTTPError as error:
            raise _unreachable(error) from error

    async def _client(self) -> httpx.AsyncClient:
        async with self._making:
            if self._http is None:
                try:
                    settings = await asyncio.to_thread(admin_settings)
                except SettingsError as error:
                    raise away("not_configured", f"The api-server does not know the edge API: {error}.") from error
                try:
                    self._http = httpx.AsyncClient(
                        base_url=settings.url,
                        headers={"Authorization": f"Bearer {settings.token}"},
                        timeout=TIMEOUT_S,
                        follow_redirects=False,
                    )
                except httpx.InvalidURL as error:
                    raise away("not_configured", f"[edge] admin_api_url is not a URL: {error}.") from error
            return self._http

    async def _call(self, method: str, path: str, headers: dict[str, str], **more: Any) -> httpx.Response:
        http = await self._client()
        try:
            answer = await http.request(method, path, headers=headers, **more)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        if answer.is_success:
            return answer
        raise await self._refusal(answer)

    async def _refusal(self, answer: httpx.Response) -> EdgeApiError:
        try:
            problem = Problem.model_validate_json(answer.content)
        except ValidationError:
            return away(
                "not_an_edge_api",
                f"[edge] admin_api_url leads to something that answered {answer.status_code} and is not an edge API.",
            )
        if answer.status_code == 401:
            # The credential may have been replaced: the next call reads the settings again.
            await self.close()
            self._http = None
            return away("credential_refused", f"The edge API refuses the api-server's credential. {problem.detail}")
        if problem.code in _UNKNOWN_PATH:
            return other_version()
        return EdgeApiError(answer.status_code, problem.code, problem.detail)


def _unreachable(error: Exception) -> EdgeApiError:
    if isinstance(error, httpx.TimeoutException):
        return away("edge_api_slow", "The edge API did not answer in time.")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return away("edge_api_away", f"The edge API cannot be reached: {reason}.")


def _parse(model: type[Model], answer: httpx.Response) -> Model:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        raise other_version() from error
