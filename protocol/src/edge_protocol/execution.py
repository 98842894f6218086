"""Calls of tasks to Airflow's Execution API on their way over the edge API: path, headers, and what is let through.

A worker calls `/edge_worker/v2/execution/<lease>/<path below /execution/>` with its own credential, and the token of
the task in a header of its own. What the edge API refuses has a `Problem` as body; any other answer is Airflow's.
"""

from typing import Final
from urllib.parse import unquote

EXECUTION_PATH: Final = "/edge_worker/v2/execution"
TASK_HEADER: Final = "X-Edge-Task-Token"

REFRESHED_HEADER: Final = "Refreshed-API-Token"
"""By which Airflow gives a task a new token with an answer (`airflow.api_fastapi.execution_api.app`)."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

UP_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "airflow-api-version",
        "content-type",
        "correlation-id",
        "traceparent",
        "tracestate",
    }
)
"""Request headers that reach Airflow; the task's token becomes `Authorization` there."""

DOWN_HEADERS: Final = frozenset(
    {"content-encoding", "content-range", "content-type", REFRESHED_HEADER.lower(), "retry-after"}
)
"""Headers of Airflow's answer that reach the task's supervisor."""

RESOURCES: Final = frozenset(
    {
        "assets",
        "asset-events",
        "connections",
        "dag-runs",
        "dags",
        "hitlDetails",
        "store",
        "task-instances",
        "task-reschedules",
        "variables",
        "xcoms",
    }
)
"""First parts of the paths that Airflow's Task SDK 1.3 calls. Others, such as the API's own docs, are not forwarded."""

_DOTS: Final = frozenset({".", ".."})


def forwarded(path: str) -> bool:
    """Return whether a path below the Execution API, as it is on the wire, is forwarded.

    A path that a proxy or Airflow could read as another one is not: with dots for a folder, encoded or not, a backslash
    or an encoded control character.
    """
    if path.partition("/")[0] not in RESOURCES:
        return False
    # Twice, since some server on the way may decode once more.
    decoded = unquote(unquote(path))
    if "\\" in decoded or any(ord(character) < 0x20 for character in decoded):
        return False
    return _DOTS.isdisjoint(decoded.split("/"))
