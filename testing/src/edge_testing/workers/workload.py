"""A task in the form that Airflow's scheduler passes to an executor."""

import json
from uuid import uuid4

LOG_PATH = "dag_id=d/run_id=r/task_id=t/attempt=1.log"


def workload(task_id: str = "t") -> str:
    """Return a task of the DAG `d` in `d.py`."""
    instance = {
        "id": str(uuid4()),
        "task_id": task_id,
        "dag_id": "d",
        "run_id": "r",
        "try_number": 1,
        "dag_version_id": str(uuid4()),
        "map_index": -1,
        "pool_slots": 1,
        "queue": "default",
        "priority_weight": 1,
    }
    return json.dumps(
        {
            "type": "ExecuteTask",
            "token": "the-token-of-the-task",
            "dag_rel_path": "d.py",
            "bundle_info": {"name": "dags-folder", "version": None},
            "log_path": LOG_PATH,
            "ti": instance,
        }
    )
