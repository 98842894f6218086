"""A task in the form that Airflow's scheduler passes to an executor."""

import json
import time
from typing import Any
from uuid import UUID, uuid4

import jwt

LOG_PATH = "dag_id=d/run_id=r/task_id=t/attempt=1.log"


def task_job(task_id: str) -> dict[str, Any]:
    """Return a task of the DAG `d` in `d.py` as fields of a job to queue."""
    instance = uuid4()
    return {"id": instance, "workload": workload(task_id, instance), "log_path": LOG_PATH}


def task_token(job: UUID | str, **claims: Any) -> str:
    """Return a task's token. Only Airflow knows the key, so the edge API leaves the signature to it."""
    now = int(time.time())
    return jwt.encode(
        {"sub": str(job), "iat": now, "exp": now + 600, **claims}, "a key of 32 bytes or more, as the algorithm wants"
    )


def workload(task_id: str = "t", instance: UUID | None = None) -> str:
    """Return a task of the DAG `d` in `d.py`, with a token of its own, which no Airflow checks."""
    instance = instance or uuid4()
    fields = {
        "id": str(instance),
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
            "token": task_token(instance),
            "dag_rel_path": "d.py",
            "bundle_info": {"name": "dags-folder", "version": None},
            "log_path": LOG_PATH,
            "ti": fields,
        }
    )
