"""Objects for the unit tests of the operator."""

from datetime import UTC, datetime, timedelta
from typing import Any

from edge_operator.api.types import EdgeWorker, read_worker
from edge_operator.desired.observed_pod import ObservedPod
from edge_protocol.admin import CordonView, MaintenanceView, Reason, ReasonCode, WorkerView
from edge_protocol.frames import Versions
from edge_protocol.worker_state import WorkerState

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def make_worker(
    name: str = "plant-7",
    annotations: dict[str, str] | None = None,
    status: dict[str, Any] | None = None,
    deleted_s: float | None = None,
    **spec: Any,
) -> EdgeWorker:
    """Return an EdgeWorker; `deleted_s` are the seconds since its deletion was requested."""
    meta: dict[str, Any] = {
        "name": name,
        "namespace": "edge",
        "uid": f"uid-{name}",
        "generation": 1,
        "creationTimestamp": "2026-11-21T10:00:00Z",
        "annotations": annotations or {},
        "labels": {},
        "finalizers": ["airflow-edge.io/worker"],
    }
    if deleted_s is not None:
        meta["deletionTimestamp"] = (NOW - timedelta(seconds=deleted_s)).isoformat()
    return read_worker({"metadata": meta, "spec": spec, "status": status or {}})


def make_view(name: str = "plant-7", state: WorkerState = WorkerState.IDLE, **changes: Any) -> WorkerView:
    """Return a worker of the fleet."""
    comment = changes.pop("comment", None)
    maintenance = MaintenanceView(comment=comment, by="anna", at=NOW) if comment is not None else None
    reasons = [Reason(code=ReasonCode.MAINTENANCE, message=f"In maintenance: {comment}")] if comment is not None else []
    values: dict[str, Any] = {
        "name": name,
        "state": state,
        "team": None,
        "queues": ["press"],
        "queues_added": [],
        "queues_removed": [],
        "concurrency": 8,
        "concurrency_override": None,
        "jobs_active": 0,
        "slots_free": 8,
        "slots_used": 0,
        "maintenance": maintenance,
        "shutdown": False,
        "cordon": CordonView(reasons=reasons),
        "protocol": 2,
        "versions": Versions(worker="0.1.0"),
        "sysinfo": {},
        "first_online": NOW,
        "last_heartbeat": NOW,
        "revision": 1,
    }
    return WorkerView(**(values | changes))


def make_pod(**changes: Any) -> ObservedPod:
    """Return the pod of a worker, which runs."""
    values: dict[str, Any] = {
        "name": "edgeworker-plant-7-0",
        "uid": "1",
        "node": "node-1",
        "template_hash": "x",
        "phase": "Running",
        "terminating": False,
        "stop_time": None,
        "kill_time": None,
        "running": True,
        "problem": None,
        "failing": False,
        "last_failure": None,
    }
    return ObservedPod(**(values | changes))
