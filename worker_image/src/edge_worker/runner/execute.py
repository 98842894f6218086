"""The call into Airflow that runs a workload."""

from airflow.executors import workloads
from airflow.executors.base_executor import BaseExecutor
from pydantic import TypeAdapter, ValidationError

from edge_worker.runner.child import Order

# Building the validator takes longer than using it: done once, in the template.
_workloads: TypeAdapter[workloads.All] = TypeAdapter(workloads.All)


class UnknownWorkloadError(ValueError):
    """A workload that the Airflow of this worker cannot read."""


def execute(order: Order) -> int:
    """Run a workload under Airflow's supervisor and return the exit code of its process.

    Raises:
        UnknownWorkloadError: the workload is not one that this Airflow knows.
        Exception: whatever the supervisor meets, for example an Execution API that refuses the task.

    """
    try:
        workload = _workloads.validate_json(order.workload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        # Without its cause, which shows the workload and in it the task's token.
        raise UnknownWorkloadError(f"{where}: {first['msg']}; does the worker run the same Airflow version?") from None
    return int(BaseExecutor.run_workload(workload, server=order.server))
