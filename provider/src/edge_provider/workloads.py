"""Conversions: Airflow's workloads to the store's jobs, and jobs to Airflow's keys."""

from uuid import UUID

from airflow.executors.workloads import ExecuteCallback, ExecuteTask
from airflow.models.callback import CallbackKey
from airflow.models.taskinstancekey import TaskInstanceKey

from edge_store.jobs.scheduling import AdoptedJob, JobChange, NewJob

CALLBACK_RANK = 0
TASK_RANK = 1


def task_job(workload: ExecuteTask, *, owner: str, team: str | None, default_queue: str) -> NewJob:
    """Return the job of a task. Its ID is that of the task instance: one per try, the same across deferrals.

    Airflow allows an empty queue name. That must not stop the scheduler, so it means the default queue.
    """
    ti = workload.ti
    return NewJob(
        id=ti.id,
        kind="task",
        queue=ti.queue or default_queue,
        team=team,
        rank=TASK_RANK,
        priority=ti.priority_weight,
        slots=ti.pool_slots,
        workload=workload.model_dump_json(),
        log_path=workload.log_path,
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=ti.map_index,
        try_number=ti.try_number,
        owner=owner,
    )


def callback_job(workload: ExecuteCallback, *, owner: str, team: str | None, queue: str) -> NewJob:
    """Return the job of a callback. Airflow gives callbacks neither queue, slots nor priority."""
    return NewJob(
        id=UUID(workload.callback.id),
        kind="callback",
        queue=queue,
        team=team,
        rank=CALLBACK_RANK,
        priority=0,
        slots=1,
        workload=workload.model_dump_json(),
        log_path=workload.log_path,
        dag_id=None,
        task_id=None,
        run_id=None,
        map_index=None,
        try_number=None,
        owner=owner,
    )


def key_of(job: JobChange | AdoptedJob) -> TaskInstanceKey | CallbackKey:
    """Return the key that Airflow knows a job by."""
    if job.kind == "callback":
        return CallbackKey(id=str(job.id))
    return TaskInstanceKey(
        dag_id=job.dag_id,
        task_id=job.task_id,
        run_id=job.run_id,
        try_number=job.try_number,
        map_index=job.map_index,
    )


def failure_text(job: JobChange) -> str:
    """Return why a job failed or was lost, for Airflow's log and audit trail."""
    return job.error or f"edge worker {job.worker_name} reported exit code {job.exit_code}"
