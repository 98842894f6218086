"""The call into Airflow that runs a workload."""

from airflow.executors import workloads
from airflow.executors.base_executor import BaseExecutor
from pydantic import TypeAdapter

from edge_worker.runner.child import Order

# Building the validator takes longer than using it: done once, in the template.
_workloads: TypeAdapter[workloads.All] = TypeAdapter(workloads.All)


def execute(order: Order) -> int:
    """Run a workload under Airflow's supervisor and return the exit code of its process.

    Raises:
        pydantic.ValidationError: the workload is not one that this Airflow knows.
        Exception: whatever the supervisor meets, for example an Execution API that refuses the task.

    """
    workload = _workloads.validate_json(order.workload)
    return int(BaseExecutor.run_workload(workload, server=order.server))
