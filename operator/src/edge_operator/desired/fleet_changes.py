"""The changes to send to the edge API so that a worker gets into the desired state of its EdgeWorker.

Maintenance that was set elsewhere (command line, the host) is left alone. `status.requestedMaintenance` records which
maintenance was requested here: `NOT_YET` before the first call, the comment after it. An operator that was killed in
between finds the record and sends the request again.
"""

from dataclasses import dataclass

from edge_operator.api import names
from edge_operator.api.types import EdgeWorker, WorkerSpec
from edge_protocol.admin import WorkerPatch, WorkerView
from edge_protocol.limits import COMMENT_MAX
from edge_protocol.worker_state import GONE_STATES, WorkerState

NOT_YET = "(not requested yet)"
"""`status.requestedMaintenance` of a request that may not have been sent."""
NO_COMMENT = "no comment given"
"""Comment for an empty annotation: the edge API requires one."""


def live(view: WorkerView | None) -> bool:
    """Return whether the worker is connected: in the fleet and in none of the gone states."""
    return view is not None and view.state not in GONE_STATES


@dataclass(frozen=True, slots=True)
class FleetChanges:
    """Calls to make, at most one of each kind; None or False: no call."""

    requested: str | None = None
    """The value of `status.requestedMaintenance` after the calls."""
    enter: str | None = None
    exit: bool = False
    shutdown: bool | None = None
    patch: WorkerPatch | None = None

    @property
    def any(self) -> bool:
        """Return whether there is a call to make."""
        return bool(self.enter is not None or self.exit or self.shutdown is not None or self.patch)


def desired_maintenance(worker: EdgeWorker, spec: WorkerSpec | None) -> str | None:
    """Return the comment of the desired maintenance, or None. The annotation takes precedence over the spec."""
    comment = worker.meta.annotations.get(names.MAINTENANCE)
    if comment is None and spec is not None and spec.maintenance.enabled:
        comment = spec.maintenance.comment
    if comment is None:
        return None
    return comment.strip()[:COMMENT_MAX] or NO_COMMENT


def fleet_changes(worker: EdgeWorker, spec: WorkerSpec | None, view: WorkerView) -> FleetChanges:
    """Return the changes to send for a worker of the fleet.

    Without a spec (it is invalid) the annotations still count, but maintenance is not ended: the spec may request it.
    """
    enter, leave, requested = _maintenance(worker, spec, view)
    return FleetChanges(requested, enter, leave, _shutdown(worker, view), _patch(spec, view) if spec else None)


def _maintenance(worker: EdgeWorker, spec: WorkerSpec | None, view: WorkerView) -> tuple[str | None, bool, str | None]:
    """Return (comment to enter with, whether to exit, what is requested from now on)."""
    desired = desired_maintenance(worker, spec)
    before = worker.status.get("requestedMaintenance")
    if desired is not None:
        # A comment that was changed elsewhere stays; only a new desired comment is sent.
        enter = desired if before != desired or view.maintenance is None else None
        return enter, False, desired
    if before is not None and (view.maintenance is not None or spec is None):
        return None, spec is not None, before
    return None, False, None


def shutdown_to_keep(worker: EdgeWorker, view: WorkerView | None) -> bool:
    """Return whether a shutdown of a Managed worker was requested elsewhere and is not yet recorded in its EdgeWorker.

    The request ends when the worker disconnects, and the cluster then restarts its container. The EdgeWorker lasts.
    """
    requested = names.SHUTDOWN in worker.meta.annotations or bool(worker.status.get("requestedShutdown"))
    return worker.managed and view is not None and view.shutdown and not requested


def _shutdown(worker: EdgeWorker, view: WorkerView) -> bool | None:
    if not live(view) or view.state is WorkerState.TERMINATING:
        return None
    desired = names.SHUTDOWN in worker.meta.annotations
    # A Managed worker is shut down by deleting its pod, which drains it too.
    if desired and not view.shutdown and not worker.managed:
        return True
    if not desired and view.shutdown and worker.status.get("requestedShutdown"):
        return False
    return None


def _patch(spec: WorkerSpec, view: WorkerView) -> WorkerPatch | None:
    """Return the change of queues and concurrency to what the spec states; what it does not state is left alone.

    A change that was requested before without effect (the credential does not grant the queue) is not requested again.
    """
    change: dict[str, object] = {}
    if spec.concurrency is not None and spec.concurrency not in (view.concurrency, view.concurrency_override):
        change["concurrency"] = spec.concurrency
    if spec.queues is not None and "*" not in view.queues:
        desired, observed = set(spec.queues), set(view.queues)
        add = sorted(desired - observed - set(view.queues_added))
        remove = sorted(observed - desired - set(view.queues_removed))
        change |= ({"add_queues": add} if add else {}) | ({"remove_queues": remove} if remove else {})
    return WorkerPatch.model_validate(change) if change else None
