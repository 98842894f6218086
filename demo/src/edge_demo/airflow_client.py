"""A small client of Airflow's public REST API."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx

FINISHED_RUN_STATES = frozenset({"success", "failed"})
_ALL = "~"
_PAGE = 100


class AirflowClient:
    """A client of one api-server, with a login or, where everyone is an admin, without."""

    def __init__(self, url: str, login: tuple[str, str] | None = None) -> None:
        self.url = url
        self._login = login
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._authenticated = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def log_in_again(self) -> None:
        """Get a new token with the next call: Airflow's key was changed."""
        self._authenticated = False
        self._http.headers.pop("Authorization", None)

    def health(self) -> dict[str, str]:
        """Return the state of each component; empty while the api-server does not answer."""
        try:
            response = self._http.get("/api/v2/monitor/health", timeout=5)
        except httpx.TransportError:
            return {}
        if response.status_code != httpx.codes.OK:
            return {}
        return {name: part.get("status") or "" for name, part in response.json().items() if isinstance(part, dict)}

    def request(self, method: str, path: str, **arguments: Any) -> Any:
        """Call the API and return the JSON of its answer.

        Raises:
            httpx.HTTPStatusError: the answer is an error; the message has its body.

        """
        if not self._authenticated:
            self._http.headers["Authorization"] = f"Bearer {self._token()}"
            self._authenticated = True
        response = self._http.request(method, f"/api/v2/{path}", **arguments)
        if response.is_error:
            raise httpx.HTTPStatusError(
                f"{method} {path}: {response.status_code} {response.text}", request=response.request, response=response
            )
        return response.json() if response.content else None

    def _token(self) -> str:
        if self._login is None:
            answer = self._http.get("/auth/token")
        else:
            name, password = self._login
            answer = self._http.post("/auth/token", json={"username": name, "password": password})
        token: str = answer.raise_for_status().json()["access_token"]
        return token

    def pages(self, path: str, item: str, **params: Any) -> list[dict[str, Any]]:
        """Return all entries of a paged list."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.request("GET", path, params={**params, "limit": _PAGE, "offset": len(found)})
            found += page[item]
            if len(found) >= page["total_entries"] or not page[item]:
                return found

    def dag_ids(self) -> set[str]:
        """Return the ids of the DAGs that Airflow has parsed."""
        return {dag["dag_id"] for dag in self.pages("dags", "dags")}

    def dag_tags(self, dag_id: str) -> set[str]:
        """Return the tags of a DAG."""
        return {tag["name"] for tag in self.request("GET", f"dags/{dag_id}")["tags"]}

    def import_errors(self) -> list[str]:
        """Return the import errors of DAG files."""
        return [f"{error['filename']}: {error['stack_trace']}" for error in self.pages("importErrors", "import_errors")]

    def unpause(self, dag_id: str) -> None:
        """Let runs of a DAG start."""
        self.request("PATCH", f"dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, run_id: str | None = None) -> str:
        """Start a run and return its id."""
        body = {"logical_date": None, "conf": conf or {}} | ({"dag_run_id": run_id} if run_id else {})
        run: str = self.request("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"]
        return run

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        state: str = self.request("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"]
        return state

    def task_instances(self, dag_id: str = _ALL, run_id: str = _ALL) -> list[dict[str, Any]]:
        """Return the current try of each task instance, mapped ones too."""
        return self.pages(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances")

    def log_entries(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> list[dict[str, Any]]:
        """Return a task's log, one entry per line, without the header that names its sources."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self.request("GET", path, params={"map_index": map_index, "full_content": True})["content"]
        return _without_sources(content)

    def log_events(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> list[str]:
        """Return the messages of a task's log."""
        return [str(entry["event"]) for entry in self.log_entries(dag_id, run_id, task_id, try_number, map_index)]

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """Return an XCom's value."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.request("GET", path, params={"map_index": map_index, "deserialize": True})["value"]

    def wait_for_run(
        self, dag_id: str, run_id: str, timeout_s: float, each_turn: Callable[[], object] = lambda: None
    ) -> str:
        """Wait until a run has ended and return its state.

        Raises:
            TimeoutError: it has not ended in time.

        """
        deadline = time.monotonic() + timeout_s
        while (state := self.run_state(dag_id, run_id)) not in FINISHED_RUN_STATES:
            if time.monotonic() > deadline:
                tasks = {one["task_id"]: one["state"] for one in self.task_instances(dag_id, run_id)}
                raise TimeoutError(f"run {run_id} of {dag_id} is {state} after {timeout_s:g} s; its tasks: {tasks}")
            each_turn()
            time.sleep(0.2)
        return state


def _without_sources(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    in_header = False
    for entry in content:
        if entry["event"].startswith("::group::Log message source details"):
            in_header = True
        elif in_header:
            in_header = entry["event"] != "::endgroup::"
        else:
            entries.append(entry)
    return entries
