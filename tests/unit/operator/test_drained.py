"""When a worker counts as drained: what it said of its tasks has to be younger than the request."""

import pytest

from edge_operator.api.conditions import Condition, Reason
from edge_operator.desired.worker_status import Observed, worker_status
from edge_protocol.worker_state import WorkerState
from edge_testing.operator.builders import NOW, make_view, make_worker


@pytest.mark.parametrize(
    ("state", "jobs", "status", "reason"),
    [
        (WorkerState.IDLE, 0, "False", Reason.NOT_CORDONED),
        (WorkerState.MAINTENANCE_REQUEST, 0, "False", Reason.TASKS_RUNNING),
        (WorkerState.MAINTENANCE_PENDING, 1, "False", Reason.TASKS_RUNNING),
        (WorkerState.MAINTENANCE_MODE, 0, "True", Reason.NO_TASKS),
        (WorkerState.SHUTDOWN_REQUEST, 0, "False", Reason.TASKS_RUNNING),
        (WorkerState.OFFLINE_MAINTENANCE, 0, "True", Reason.NO_TASKS),
    ],
)
def test_drained(state: WorkerState, jobs: int, status: str, reason: Reason) -> None:
    comment = None if state is WorkerState.IDLE else "new disk"
    seen = Observed(
        worker=make_worker(),
        view=make_view(state=state, jobs_active=jobs, comment=comment),
        fleet_known=True,
        fleet_fresh=True,
        arrived=True,
        pods=[],
        problem=None,
        progressing=None,
        blocked=None,
        extra={},
        now=NOW,
    )
    conditions = {one["type"]: one for one in worker_status(seen)["conditions"]}
    drained = conditions[Condition.DRAINED.value]
    assert (drained["status"], drained["reason"]) == (status, reason.value)
