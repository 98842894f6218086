"""Settings of the operator: environment variables `EDGE_OPERATOR_<FIELD>`."""

import socket
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class ClusterSettings(BaseSettings):
    """Where the operator works; all that its commands for installing need to know."""

    model_config = SettingsConfigDict(env_prefix="EDGE_OPERATOR_", extra="ignore", frozen=True)

    namespaces: Annotated[list[str], NoDecode] = Field(default_factory=list)
    """Namespaces to work in, separated by commas; none: the whole cluster."""
    kubeconfig: Path | None = None
    """Kubeconfig to use outside a cluster; unset: the pod's service account."""
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """Level of the operator's log."""

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def scopes(self) -> list[str | None]:
        """Return the namespaces to list; None stands for all."""
        return list(self.namespaces) or [None]


class OperatorSettings(ClusterSettings):
    """What the operator is told by whoever installs it."""

    # The edge API
    api_url: str = Field(pattern=r"^https?://[^/]+")
    """Base URL of the edge API, without `/edge_worker`."""
    admin_token_file: Path
    """File with a credential of role admin (`edge-api credential create --role admin`); read again at each call."""
    ca_bundle: Path | None = None
    """PEM file of the authorities to trust for the edge API; worker pods get them too, but with `worker_api_url`."""
    api_patience_s: float = Field(default=60, ge=0)
    """Seconds that the edge API may be away before status says so, and before a deletion goes on without it."""

    # Workers
    worker_image: str = Field(min_length=1)
    """Image of worker pods whose template names none."""
    worker_api_url: str | None = None
    """Base URL of the edge API as worker pods reach it; unset: `api_url`."""
    stop_margin_s: int = Field(default=45, ge=0)
    """Seconds after the drain timeout in which the agent ends tasks by force (10) and delivers reports and logs (30);
    more where EDGE_WORKER_KILL_GRACE_S or EDGE_WORKER_FLUSH_TIMEOUT_S of workers is more."""
    token_lifetime_s: float = Field(default=3600, ge=1800)
    """Seconds that a join token for a pod is good: it is used at the pod's first start, or replaced."""
    external_token_lifetime_s: float = Field(default=86400, ge=1800)
    """Seconds that a join token for somebody else's host is good: a human may have to carry it there."""
    external_namespace: str | None = None
    """Namespace for EdgeWorkers of workers that enrolled by themselves; unset: they are not shown."""

    # The cluster
    lease_namespace: str = Field(default="default", min_length=1)
    """Namespace of the Lease by which one of several operators acts: the operator's own."""
    lease_name: str = Field(default="airflow-edge-operator", min_length=1)
    """Name of that Lease; operators for different namespaces of a cluster need different ones."""
    identity: str = Field(default_factory=socket.gethostname, min_length=1)
    """Who holds the Lease. A restarted container has the same host name, so it goes on without waiting."""

    # Pace
    concurrency: int = Field(default=8, ge=1, le=64)
    """Objects that are worked on at once."""
    resync_s: float = Field(default=300, ge=1)
    """Seconds between full passes, which find what no event told of."""
    heartbeat_refresh_s: float = Field(default=600, ge=1)
    """`status.lastHeartbeatTime` alone is written at most this often: with 500 workers each write counts."""
    minor_interval_s: float = Field(default=5, ge=0)
    """Seconds between writes of a status in which only the number of running tasks changed."""
    autoscale_s: float = Field(default=5, ge=0.1)
    """Seconds between looks at the queues, while a pool scales by them."""

    # Its own endpoint
    host: str = "0.0.0.0"  # noqa: S104  (a pod's probes and Prometheus come from outside)
    """Address of /healthz and /metrics."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port of /healthz and /metrics; 0: any free one."""

    @model_validator(mode="after")
    def _external_is_watched(self) -> "OperatorSettings":
        if self.namespaces and self.external_namespace and self.external_namespace not in self.namespaces:
            raise ValueError("external_namespace must be one of namespaces")
        return self
