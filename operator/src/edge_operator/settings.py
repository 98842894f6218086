"""Settings of the operator: environment variables `EDGE_OPERATOR_<FIELD>`."""

import socket
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from edge_operator.api.bounds import NamespaceBounds, UnlistedNamespace


class ClusterSettings(BaseSettings):
    """Where the operator works; the commands of the chart's hooks need no more."""

    model_config = SettingsConfigDict(env_prefix="EDGE_OPERATOR_", extra="ignore", frozen=True)

    namespaces: Annotated[list[str], NoDecode] = Field(default_factory=list)
    """Namespaces to work in, separated by commas; empty: the whole cluster."""
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
        """Return the namespaces to list; None means all."""
        return list(self.namespaces) or [None]


class OperatorSettings(ClusterSettings):
    """The settings of `edge-operator run`."""

    # The edge API
    api_url: str = Field(pattern=r"^https?://[^/]+")
    """Base URL of the edge API, without `/edge_worker`."""
    admin_token_file: Path
    """File with a credential of role admin (`edge-api credential create --role admin`); re-read at each call."""
    ca_bundle: Path | None = None
    """PEM file with the CA certificates to trust for the edge API; worker pods get it too, unless `worker_api_url` is
    set."""
    api_patience_s: float = Field(default=60, ge=0)
    """Seconds without an answer of the edge API until the status says so and deletions continue without it."""

    # Workers
    worker_image: str = Field(min_length=1)
    """Image of worker pods whose template names none."""
    worker_api_url: str | None = None
    """Base URL of the edge API as worker pods reach it; unset: `api_url`."""
    stop_margin_s: int = Field(default=45, ge=0)
    """Seconds after the drain timeout in which the agent kills tasks (10) and delivers reports and logs (30);
    increase it if EDGE_WORKER_KILL_GRACE_S or EDGE_WORKER_FLUSH_TIMEOUT_S of the workers is higher."""
    token_lifetime_s: float = Field(default=3600, ge=1800)
    """Lifetime of a join token for a pod: it is used at the pod's first start, or replaced."""
    external_token_lifetime_s: float = Field(default=86400, ge=1800)
    """Lifetime of a join token for an External worker: a person may have to carry it to the host."""
    namespace_bounds: list[NamespaceBounds] = Field(default_factory=list)
    """Which workers the EdgeWorkers of each namespace may have, as JSON; empty: any. Otherwise, namespaces that are not
    listed may have none."""
    external_namespace: str | None = None
    """Namespace for the EdgeWorkers of workers that enrolled without one; unset: none are created."""

    # The cluster
    lease_namespace: str = Field(default="default", min_length=1)
    """Namespace of the Lease for leader election: the operator's own."""
    lease_name: str = Field(default="airflow-edge-operator", min_length=1)
    """Name of that Lease; operators for different namespaces of a cluster need different ones."""
    identity: str = Field(default_factory=socket.gethostname, min_length=1)
    """Name of this operator in the Lease. A restarted container has the same host name, so it leads again at once."""

    # Rates
    concurrency: int = Field(default=8, ge=1, le=64)
    """Number of concurrent passes."""
    resync_s: float = Field(default=300, ge=1)
    """Seconds between full passes, which find changes that no event reported."""
    heartbeat_refresh_s: float = Field(default=600, ge=1)
    """A status in which only `lastHeartbeatTime` changed is written at most this often, in seconds."""
    minor_interval_s: float = Field(default=5, ge=0)
    """Seconds between writes of a status in which only the number of running tasks changed."""
    autoscale_s: float = Field(default=5, ge=0.1)
    """Seconds between reads of the queues while a pool is autoscaled."""

    # Its own endpoint
    host: str = "0.0.0.0"  # noqa: S104  (a pod's probes and Prometheus come from outside)
    """Address of /healthz and /metrics."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port of /healthz and /metrics; 0: any free one."""

    def bounds_of(self, namespace: str) -> NamespaceBounds:
        """Return the bounds of a namespace."""
        listed = {bounds.namespace: bounds for bounds in self.namespace_bounds}
        unlisted = UnlistedNamespace if listed else NamespaceBounds
        return listed.get(namespace) or unlisted(namespace=namespace)

    @field_validator("namespace_bounds")
    @classmethod
    def _listed_once(cls, value: list[NamespaceBounds]) -> list[NamespaceBounds]:
        if len({bounds.namespace for bounds in value}) < len(value):
            raise ValueError("a namespace is listed twice")
        return value

    @model_validator(mode="after")
    def _external_is_watched(self) -> "OperatorSettings":
        if self.namespaces and self.external_namespace and self.external_namespace not in self.namespaces:
            raise ValueError("external_namespace must be one of namespaces")
        listed = {bounds.namespace for bounds in self.namespace_bounds}
        if listed and self.external_namespace and self.external_namespace not in listed:
            raise ValueError("external_namespace must be one of the namespaces in namespace_bounds")
        return self
