"""What sessions need of the rest of the process, in one place."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from edge_api.database.batcher import Batcher
from edge_api.database.pool import Database
from edge_api.dispatch.dispatcher import Dispatcher
from edge_api.fleet.version_policy import VersionPolicy
from edge_api.frames.heartbeat import Heartbeats
from edge_api.frames.log import LogResult
from edge_api.identity.refusals import Refusals
from edge_api.metrics import Metrics
from edge_api.sessions.registry import Registry
from edge_api.sessions.writers import LeaseCheck, LeaseState, Loss
from edge_api.settings import ApiSettings
from edge_store.jobs import leases, logs

if TYPE_CHECKING:
    from edge_api.fleet.desired import Wishes
    from edge_api.sessions.session import Session


@dataclass(frozen=True, slots=True)
class Hub:
    """The shared services."""

    settings: ApiSettings
    metrics: Metrics
    database: Database
    registry: Registry
    heartbeats: Heartbeats
    refusals: Refusals
    versions: VersionPolicy
    dispatcher: Dispatcher
    accepts: Batcher[leases.HeldLease, bool]
    reports: Batcher[leases.JobReport, bool]
    logs: Batcher[logs.LogChunk, LogResult]
    losses: Batcher[Loss, None]
    checks: Batcher[LeaseCheck, dict[UUID, LeaseState]]
    wishes: "Batcher[Session, Wishes | None]"

    @property
    def batchers(self) -> tuple[Batcher[Any, Any], ...]:
        """All batchers, in the order in which they are emptied at the end."""
        return (self.logs, self.accepts, self.reports, self.losses, self.checks, self.wishes)
