"""What has to be told to the edge API so that a worker becomes as its object wants it.

Maintenance that was set elsewhere (command line, UI, the host) is left alone. To know which one is ours,
`status.requestedMaintenance` says so before the first call (`NOT_YET`) and has the comment after it: an operator that
dies in between finds it there, and asks again.
"""

from dataclasses import dataclass

from edge_operator.api import names
from edge_operator.api.types import EdgeWorker, WorkerSpec
from edge_protocol.admin import WorkerPatch, WorkerView
from edge_protocol.limits import COMMENT_MAX
from edge_protocol.worker_state import WorkerState

GONE_STATES = frozenset({WorkerState.OFFLINE, WorkerState.UNKNOWN, WorkerState.OFFLINE_MAINTENANCE})
"""States of a worker that is not there."""
NOT_YET = "(not asked yet)"
"""`status.requestedMaintenance` of a request that may not have been made."""
NO_COMMENT = "no comment given"
"""The edge API wants a comment; an empty annotation has none."""


def live(view: WorkerView | None) -> bool:
    """Return whether the worker is there now."""
    return view is not None and view.state not in GONE_STATES


@dataclass(frozen=True, slots=True)
class Wishes:
    """Calls to make, at most one of each kind; None or False: nothing to do."""

    requested: str | None = None
    """What `status.requestedMaintenance` has to say after the calls."""
    enter: str | None = None
    exit: bool = False
    shutdown: bool | None = None
    patch: WorkerPatch | None = None

    @property
    def any(self) -> bool:
        """Return whether a call is to be made."""
        return bool(self.enter is not None or self.exit or self.shutdown is not None or self.patch)


def wanted_maintenance(worker: EdgeWorker, spec: WorkerSpec | None) -> str | None:
    """Return the comment of the maintenance that the object asks for, or None. The annotation comes first."""
    comment = worker.meta.annotations.get(names.MAINTENANCE)
    if comment is None and spec is not None and spec.maintenance.enabled:
        comment = spec.maintenance.comment
    if comment is None:
        return None
    return comment.strip()[:COMMENT_MAX] or NO_COMMENT


def wishes(worker: EdgeWorker, spec: WorkerSpec, view: WorkerView) -> Wishes:
    """Return what to tell the edge API about a worker that is in the fleet."""
    enter, leave, requested = _maintenance(worker, spec, view)
    return Wishes(requested, enter, leave, _shutdown(worker, view), _patch(spec, view))


def _maintenance(worker: EdgeWorker, spec: WorkerSpec, view: WorkerView) -> tuple[str | None, bool, str | None]:
    """Return (comment to enter with, whether to exit, what is asked for from now on)."""
    wanted = wanted_maintenance(worker, spec)
    before = worker.status.get("requestedMaintenance")
    if wanted is not None:
        # A comment that somebody changed elsewhere stays; only a new one here is sent again.
        enter = wanted if before != wanted or view.maintenance is None else None
        return enter, False, wanted
    if before is not None and view.maintenance is not None:
        return None, True, before
    return None, False, None


def shutdown_to_keep(worker: EdgeWorker, view: WorkerView | None) -> bool:
    """Return whether somebody asked the edge API to shut a managed worker down, and the object does not say so yet.

    The request ends with the worker's good-bye, and the cluster starts its container again: what lasts is the object.
    """
    asked = names.SHUTDOWN in worker.meta.annotations or bool(worker.status.get("requestedShutdown"))
    return worker.managed and view is not None and view.shutdown and not asked


def _shutdown(worker: EdgeWorker, view: WorkerView) -> bool | None:
    if not live(view) or view.state is WorkerState.TERMINATING:
        return None
    asked = names.SHUTDOWN in worker.meta.annotations
    # A managed worker is shut down by taking its pod away, which drains it too, and keeps it away.
    if asked and not view.shutdown and not worker.managed:
        return True
    if not asked and view.shutdown and worker.status.get("requestedShutdown"):
        return False
    return None


def _patch(spec: WorkerSpec, view: WorkerView) -> WorkerPatch | None:
    """Return the change that makes queues and concurrency as the spec says; what it does not say is left alone.

    What was asked for before and has no effect (a queue that the credential does not grant) is not asked for again.
    """
    change: dict[str, object] = {}
    if spec.concurrency is not None and spec.concurrency not in (view.concurrency, view.concurrency_override):
        change["concurrency"] = spec.concurrency
    if spec.queues is not None and "*" not in view.queues:
        wanted, there = set(spec.queues), set(view.queues)
        add = sorted(wanted - there - set(view.queues_added))
        remove = sorted(there - wanted - set(view.queues_removed))
        change |= ({"add_queues": add} if add else {}) | ({"remove_queues": remove} if remove else {})
    return WorkerPatch.model_validate(change) if change else None
