"""Settings of the worker: environment variables `EDGE_WORKER_<FIELD>`, overridden by the command line.

A plain pydantic model and not pydantic-settings, which alone costs 9 MB of the agent's 50 MB.
"""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from edge_protocol.limits import CONCURRENCY_MAX, OUTAGE_TOLERANCE_MAX_S, QueueName, WorkerName
from edge_worker.errors import ConfigError

ENV_PREFIX = "EDGE_WORKER_"

_HINTS = {
    "name": "use 1 to 253 letters, digits, '.', '_' or '-', starting and ending with a letter or digit",
    "queues": "name 1 to 256 queues, separated by commas, of 1 to 256 characters each",
    "concurrency": f"use a whole number from 1 to {CONCURRENCY_MAX}",
    "api_url": "use an http:// or https:// URL, for example https://airflow.example.com",
    "execution_api_url": "use an http:// or https:// URL, for example https://airflow.example.com/execution/",
    "transport": "use auto, websocket or sync",
    "outage_tolerance_s": f"use a whole number of seconds from 0 (none) to {OUTAGE_TOLERANCE_MAX_S} (7 days)",
}


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _check_url(value: str) -> str:
    if not value.startswith(("http://", "https://")) or len(value.split("//", 1)[1]) == 0:
        raise ValueError("not an http:// or https:// URL")
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_check_url)]


class WorkerSettings(BaseModel):
    """Settings of one worker."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    api_url: Url | None = None
    """Base URL of the edge API, without `/edge_worker`. Stored in the state folder at enrolment."""
    allow_plain_http: bool = False
    """Allow an `http://` API URL to another host: for networks that are protected by other means."""
    name: WorkerName = Field(default_factory=socket.gethostname, validate_default=True)
    """Unique name of the worker in its fleet; unset: the host's name."""
    queues: Annotated[list[QueueName] | None, BeforeValidator(_split), Field(min_length=1, max_length=256)] = None
    """Queues to serve; unset: the queues that the credential lists, or `default` if it grants any queue."""
    concurrency: int = Field(default=8, ge=1, le=CONCURRENCY_MAX)
    """Slots: how many one-slot tasks run at the same time."""
    state_dir: Path | None = None
    """Folder for credential, spool and learned modules; unset: one per worker name in the user's state folder."""
    transport: Literal["auto", "websocket", "sync"] = "auto"
    """`auto` uses a WebSocket and falls back to long polling where a proxy breaks it."""
    fork: bool = True
    """Fork each task from a warm process; off: a fresh interpreter per task (slower by seconds)."""
    drain_timeout_s: float = Field(default=3600, ge=0)
    """Seconds that running tasks may take to end after a stop request."""
    kill_grace_s: float = Field(default=10, ge=0)
    """Seconds between SIGTERM and SIGKILL for a task that must end."""
    outage_tolerance_s: int = Field(default=600, ge=0, le=OUTAGE_TOLERANCE_MAX_S)
    """Longest time in seconds for which running tasks survive without contact to the edge API; a job may have a shorter
    one. 0: none does. Without effect if `execution_api_url` is set: only the relay can hold the calls of tasks."""
    flush_timeout_s: float = Field(default=30, ge=0)
    """Seconds at the end of a stop to deliver reports and logs; the rest stays for the next start."""
    spool_max_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """Bytes of task logs kept on disk while the edge API is away; beyond it the oldest are dropped, with a notice."""
    disk_min_free_bytes: int = Field(default=256 << 20, ge=0)
    """Free bytes of the state folder's disk below which no jobs are taken; at most a tenth of the disk counts."""
    ca_bundle: Path | None = None
    """PEM file of the CAs to trust for the edge API, and for an Execution API that is called directly unless Airflow's
    own `[api] ssl_ca_file` is set. HTTPS calls of task code are not affected."""
    execution_api_url: Url | None = None
    """Airflow's Execution API, for tasks that shall call it directly; unset: by way of the edge API if that forwards
    such calls, else Airflow's own setting."""
    health_check: str | None = None
    """`module:function` of the site, called once per heartbeat; returns nothing, `ok` or why the host is unhealthy."""
    health_timeout_s: float = Field(default=10, gt=0)
    """Seconds for the health check to answer; after that the host counts as unhealthy."""
    site: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """Where this worker is, in words: shown and found on the fleet page, for example `Plant 7, hall B`."""
    team: str | None = None
    """Team that the credential must belong to; a worker cannot choose its team."""
    join_token_file: Path | None = None
    """File with a join token, for a worker that enrols itself at its first start."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Level of the agent's own log on stderr."""

    @property
    def announced_tolerance_s(self) -> int:
        """The outage tolerance that this worker can keep: none if its tasks call Airflow directly."""
        return self.outage_tolerance_s if self.execution_api_url is None else 0

    @property
    def state_folder(self) -> Path:
        """The folder that holds everything this worker stores."""
        return self.state_dir if self.state_dir is not None else default_state_root() / self.name


def default_state_root() -> Path:
    """Return the folder for the state of workers without `state_dir`."""
    if sys.platform == "win32":
        return Path(os.environ.get("PROGRAMDATA") or Path.home()) / "airflow-edge"
    if os.geteuid() == 0:
        return Path("/var/lib/airflow-edge")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "airflow-edge"


def load_settings(overrides: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> WorkerSettings:
    """Return the settings from the environment; `overrides` take precedence, except for those that are None.

    Raises:
        ConfigError: a value is invalid; the message names the setting and the allowed values.

    """
    values: dict[str, Any] = {
        field: environ[ENV_PREFIX + field.upper()]
        for field in WorkerSettings.model_fields
        if environ.get(ENV_PREFIX + field.upper())
    }
    values |= {field: value for field, value in overrides.items() if value is not None}
    try:
        return WorkerSettings(**values)
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from error


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    field = str(first["loc"][0])
    hint = _HINTS.get(field, first["msg"])
    shown = str(first["input"])
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"setting {field!r} ({ENV_PREFIX}{field.upper()}) is not valid: {shown!r}; {hint}"
