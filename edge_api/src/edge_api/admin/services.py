"""Services of the admin API: everything that people and the operator do with the fleet."""

from edge_api.admin.audit import Trail
from edge_api.admin.callers import Callers
from edge_api.admin.identity import IdentityAdmin
from edge_api.admin.jobs import JobsAdmin
from edge_api.admin.workers import FleetAdmin
from edge_api.database.pool import Database
from edge_api.fleet.changes import ChangeFeed
from edge_api.identity.refusals import Refusals
from edge_api.metrics import Metrics


class Admin:
    """All of them."""

    def __init__(self, database: Database, metrics: Metrics, heartbeat_interval_s: float, refusals: Refusals) -> None:
        self.callers = Callers(database, metrics)
        self.fleet = FleetAdmin(database, heartbeat_interval_s, refusals)
        self.jobs = JobsAdmin(database, self.fleet)
        self.identity = IdentityAdmin(database)
        self.trail = Trail(database)
        self.changes = ChangeFeed(database, self.fleet.view)
