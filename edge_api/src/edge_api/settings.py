"""Settings of the edge API, from environment variables `EDGE_API_…`."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from edge_protocol.limits import FENCE_MARGIN_S, OUTAGE_TOLERANCE_MAX_S, QueueName
from edge_protocol.worker_state import MISSED_HEARTBEATS
from edge_store.jobs.logs import MAX_BYTES

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

SHORTEST_STALL, LONGEST_STALL = timedelta(seconds=2), timedelta(seconds=5)
"""A busy machine alone may delay a write by the former."""


class SkewPolicy(StrEnum):
    """How close two versions must be."""

    EXACT = "exact"
    """Exactly the same version."""
    PATCH = "patch"
    """The same major, minor and patch number; suffixes such as `.post1` or `+local` may differ."""
    MINOR = "minor"
    """The same major and minor number."""
    ANY = "any"
    """Never compared."""


class ApiSettings(BaseSettings):
    """Every field can be set as `EDGE_API_<FIELD>`; times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="EDGE_API_", frozen=True)

    database_url: SecretStr
    """The database with the schema `edge`, usually Airflow's own: `postgresql://user:password@host:5432/airflow`."""

    host: str = "127.0.0.1"
    """Address to listen on; a container sets 0.0.0.0."""

    port: int = Field(default=8800, ge=0, le=65535)
    """TCP port to listen on; 0 picks a free one and logs it."""

    site_port: int | None = Field(default=None, ge=0, le=65535)
    """A second TCP port, for sites: it serves workers, and of the admin API only credentials for a part of the fleet.
    None: there is no such port."""

    forwarded_allow_ips: str = "127.0.0.1"
    """Proxies (addresses or networks, comma separated) whose X-Forwarded-For header is trusted."""

    tls_certificate: Path | None = None
    """PEM file with the server's certificate chain. None: plain HTTP, for use behind a TLS ingress."""

    tls_key: Path | None = None
    """PEM file with the certificate's private key."""

    execution_api_url: Annotated[str, Field(pattern="^https?://[^/]+")] | None = None
    """URL of Airflow's Execution API as this process reaches it, for example http://airflow-api-server:8080/execution/.
    Calls of tasks are forwarded there, so that a site needs no other address. None: workers have their own setting."""

    execution_api_ca: Path | None = None
    """PEM file of the CAs to trust for `execution_api_url`. None: the system's."""

    execution_body_max_bytes: int = Field(default=16 * 1024 * 1024, ge=64 * 1024)
    """Largest body of a call that is forwarded: the largest XCom that a task can push."""

    heartbeat_interval_s: Seconds = 10
    """Sent to workers. A worker that is silent for three of them is unknown, and its jobs without an outage
    tolerance are lost."""

    queue_outage_tolerance_s: dict[QueueName, Annotated[int, Field(ge=0, le=OUTAGE_TOLERANCE_MAX_S)]] = {}
    """Longest time without contact that running tasks of these queues survive, as JSON: {"critical": 60}. A worker has
    such a time of its own; the shorter one counts. 0, or less than the worker needs to end a task in time: its jobs are
    lost when the worker is silent for three heartbeats."""

    accept_timeout_s: Seconds = 10
    """A job that a worker was given but did not accept within this time goes back to its queue."""

    tick_s: Seconds = 1
    """Longest time between two looks at the queues while a worker has room; a hint usually makes it sooner."""

    starvation_patience_s: Seconds = 10
    """After this time, a worker is kept free for a job that is too large for any free room."""

    log_chunk_bytes: int = Field(default=256 * 1024, ge=1024, le=512 * 1024)
    """Largest piece of task log that a worker may send in one frame."""

    log_window_bytes: int = Field(default=2 * 1024 * 1024, ge=1024)
    """Log bytes that a worker may send before they are acknowledged."""

    held_bytes_max: int = Field(default=128 * 1024 * 1024, ge=4 * 1024 * 1024)
    """Bytes of frames that this process holds in memory for all workers together, for example while the database is
    slow. Task logs may fill three quarters; beyond that, workers keep their logs and are asked for them in turn."""

    log_max_bytes: int = Field(default=MAX_BYTES, ge=1024)
    """Most bytes stored of one log; of what exceeds them only the last 64 KiB or more are stored."""

    credential_lifetime_s: Seconds = 90 * 24 * 3600
    """A worker's credential is valid for this time after its enrolment or rotation."""

    credential_overlap_s: Seconds = 3600
    """A rotated credential stays valid for this time beside its successor."""

    airflow_skew: SkewPolicy = SkewPolicy.MINOR
    """How close a worker's Airflow version must be to the platform's: exact, patch, minor (the same 3.x) or any."""

    worker_skew: SkewPolicy = SkewPolicy.ANY
    """How close the worker package's version must be to this API's; any: the protocol's own version check is enough."""

    airflow_version: str | None = None
    """The platform's version of Airflow; None: the one that the executor writes into the database."""

    v1_jwt_secret: SecretStr | None = None
    """Airflow's `[api_auth] jwt_secret`: lets edge3 workers (v1) in. None: v1 is switched off."""

    v1_heartbeat_interval_s: Seconds = 30
    """`[edge] heartbeat_interval` of edge3 workers (v1); one that is silent for three of them is lost."""

    v1_accept_timeout_s: Seconds = 60
    """Like `accept_timeout_s`, for edge3 workers (v1): they start the task first and report afterwards."""

    v1_teams: bool = False
    """Let edge3 workers (v1) choose their team. Their shared secret proves none, so by default they have none."""

    audit_retention_s: Seconds = 365 * 24 * 3600
    """Entries of the audit trail are deleted after this time."""

    job_retention_s: Seconds = 24 * 3600
    """Finished jobs are deleted after this time, once Airflow knows their outcome."""

    queued_retention_s: Seconds = 7 * 24 * 3600
    """Jobs that nobody took are deleted after this time: Airflow has given up their tasks long before."""

    log_retention_s: Seconds = 30 * 24 * 3600
    """Task logs are deleted this long after the task was given to a worker."""

    max_sessions: Count = 10_000
    """Maximum number of workers connected to this process; each takes about 50 KB."""

    database_pool_size: Count = 10
    """Maximum number of database connections for statements; two more listen and hold the housekeeping lock."""

    @property
    def silence_window(self) -> timedelta:
        """How long a worker may be silent before it counts as unknown (I-4 in docs/architecture.md)."""
        return timedelta(seconds=MISSED_HEARTBEATS * self.heartbeat_interval_s)

    @property
    def tolerance_least(self) -> timedelta:
        """The shortest outage tolerance, without the worker's kill grace: a shorter one would end tasks at once."""
        return self.silence_window + timedelta(seconds=FENCE_MARGIN_S)

    @property
    def stall(self) -> timedelta:
        """Without a write for so long the database has stalled: silence meanwhile proves nothing (ADR 0024).

        A shorter stall may delay a heartbeat, but not for a whole window of silence.
        """
        return min(LONGEST_STALL, max(SHORTEST_STALL, timedelta(seconds=self.heartbeat_interval_s)))

    @property
    def accept_timeout(self) -> timedelta:
        """`accept_timeout_s` as the statements take it."""
        return timedelta(seconds=self.accept_timeout_s)

    @property
    def job_retention(self) -> timedelta:
        """`job_retention_s` as the statements take it."""
        return timedelta(seconds=self.job_retention_s)

    @property
    def log_retention(self) -> timedelta:
        """`log_retention_s` as the statements take it."""
        return timedelta(seconds=self.log_retention_s)
