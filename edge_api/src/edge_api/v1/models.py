"""Bodies of the v1 wire, as `apache-airflow-providers-edge3` 5.1.0 sends and expects them."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from edge_protocol.limits import CONCURRENCY_MAX, QueueName
from edge_protocol.worker_state import WorkerState

Queues = Annotated[list[QueueName] | None, Field(max_length=256)]


class WorkerStateBody(BaseModel):
    """A worker registers, or reports its state."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "state": "running",
                    "jobs_active": 3,
                    "queues": ["press", "paint"],
                    "sysinfo": {
                        "concurrency": 4,
                        "free_concurrency": 1,
                        "airflow_version": "3.3.2",
                        "edge_provider_version": "5.1.0",
                    },
                }
            ]
        }
    )

    state: WorkerState
    jobs_active: int = Field(default=0, ge=0, le=CONCURRENCY_MAX)
    queues: Queues = None
    """None: all queues."""
    sysinfo: dict[str, str | int | float | datetime] = Field(max_length=256)
    maintenance_comments: str | None = Field(default=None, max_length=64 * 1024)
    team_name: str | None = Field(default=None, max_length=256)


class WorkerRegistrationReturn(BaseModel):
    """Answer to a registration."""

    last_update: datetime
    versions_match: bool


class WorkerSetStateReturn(BaseModel):
    """What the worker is to do."""

    state: WorkerState
    queues: list[str] | None
    maintenance_comments: str | None
    concurrency: int | None
    versions_match: bool


class WorkerQueuesBody(BaseModel):
    """A worker asks for a job."""

    queues: Queues = None
    free_concurrency: int
    team_name: str | None = None
    supports_task_instance_uuid: bool = False


class WorkerQueueUpdateBody(BaseModel):
    """Queues to add and to remove."""

    new_queues: Queues
    remove_queues: Queues


class EdgeJobFetched(BaseModel):
    """A job for a worker. `command` holds the task's token, so it is never logged."""

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    try_number: int
    command: dict[str, Any] = Field(repr=False)
    concurrency_slots: int
    task_instance_id: UUID | None


class PushLogsBody(BaseModel):
    """A piece of a task's log."""

    log_chunk_time: datetime
    log_chunk_data: str
    task_instance_id: UUID | None = None


class TaskInstanceBody(BaseModel):
    """Body of a state report; older workers send none."""

    task_instance_id: UUID | None = None
