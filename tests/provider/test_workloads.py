"""Workloads become jobs and job rows become keys, without loss."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from airflow.executors.workloads import ExecuteCallback, ExecuteTask
from airflow.executors.workloads.base import BundleInfo
from airflow.executors.workloads.callback import CallbackDTO, CallbackFetchMethod
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.models.callback import CallbackKey

from edge_provider.workloads import callback_job, failure_text, key_of, task_job
from edge_store.jobs.scheduling import AdoptedJob, JobChange, NewJob


def make_task(**changes: Any) -> ExecuteTask:
    fields: dict[str, Any] = {
        "id": uuid4(),
        "dag_version_id": uuid4(),
        "task_id": "press",
        "dag_id": "line",
        "run_id": "manual",
        "try_number": 2,
        "map_index": 7,
        "pool_slots": 3,
        "queue": "steel",
        "priority_weight": 11,
        **changes,
    }
    return ExecuteTask(
        token="secret",
        dag_rel_path=Path("line.py"),
        bundle_info=BundleInfo(name="dags"),
        log_path="line/press/2.log",
        ti=TaskInstanceDTO(**fields),
    )


def adopted(job: NewJob) -> AdoptedJob:
    """The job as the executor reads it later."""
    return AdoptedJob(*(getattr(job, name) for name in AdoptedJob._fields))


def test_task_and_back_to_its_key() -> None:
    workload = make_task()
    job = task_job(workload, owner="5:red", team="red", default_queue="default")
    assert (job.id, job.kind, job.rank) == (workload.ti.id, "task", 1)
    assert (job.queue, job.slots, job.priority, job.team, job.owner) == ("steel", 3, 11, "red", "5:red")
    assert json.loads(job.workload)["ti"]["map_index"] == 7
    assert ExecuteTask.model_validate_json(job.workload) == workload
    assert key_of(adopted(job)) == workload.ti.key


def test_empty_queue_is_the_default_one() -> None:
    assert task_job(make_task(queue=""), owner="5", team=None, default_queue="default").queue == "default"


def test_callback_goes_first_and_keeps_its_key() -> None:
    callback_id = uuid4()
    workload = ExecuteCallback(
        token="secret",
        dag_rel_path=Path("line.py"),
        bundle_info=BundleInfo(name="dags"),
        log_path="executor_callbacks/line/run/1",
        callback=CallbackDTO(id=str(callback_id), fetch_method=CallbackFetchMethod.IMPORT_PATH, data={"path": "a.b"}),
    )
    job = callback_job(workload, owner="5", team=None, queue="default")
    assert (job.id, job.kind, job.rank, job.slots, job.queue) == (callback_id, "callback", 0, 1, "default")
    assert key_of(adopted(job)) == CallbackKey(str(callback_id)) == workload.key


def test_key_of_a_callback_whose_id_comes_as_text() -> None:
    text = "7F0c1b22-0000-4000-8000-000000000001"
    assert key_of(AdoptedJob(UUID(text), "callback", None, None, None, None, None)).id == text.lower()


def test_failure_text_never_is_empty() -> None:
    change = JobChange(uuid4(), "task", "failed", "dag", "task", "run", -1, 1, "w1", -9, None)
    assert failure_text(change) == "edge worker w1 reported exit code -9"
    assert failure_text(change._replace(error="edge worker w1 lost at T")) == "edge worker w1 lost at T"
