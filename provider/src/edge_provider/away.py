"""Jobs whose workers are out of contact stay alive in Airflow, and their tasks have valid tokens when they are back.

Airflow fails a running task that sends no heartbeat for `[scheduler] task_instance_heartbeat_timeout`, and a task's
token lives for `[execution_api] jwt_expiration_time`. The scheduler that would fail the task is the one that keeps it.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from airflow.configuration import conf
from airflow.models.taskinstance import TaskInstance
from airflow.utils.state import TaskInstanceState
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from edge_store import outages
from edge_store.database.statement import run

_ALIVE = (TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING)
"""A task that somebody has cleared is restarting: its next try begins when the job of this one has ended."""


def period_s() -> float:
    """Return how often to keep tasks alive, which is also the silence after which a worker counts as away here.

    Several times within both limits, since a scheduler may start again in between.
    """
    heartbeat_timeout_s = float(conf.getfloat("scheduler", "task_instance_heartbeat_timeout"))
    return min(heartbeat_timeout_s, float(conf.getfloat("execution_api", "jwt_expiration_time"))) / 4


def keep(session: Session, jobs: Sequence[outages.AwayJob], generator: Any) -> None:
    """Note in Airflow that the tasks of jobs are alive, and store new tokens for them.

    `generator`: Airflow's `JWTGenerator`. Tasks that another transaction has locked are left to the next time.
    """
    ids = [UUID(str(job.id)) for job in jobs]
    alive = (
        select(TaskInstance.id)
        .where(TaskInstance.id.in_([str(each) for each in ids]), TaskInstance.state.in_(_ALIVE))
        .with_for_update(skip_locked=True, of=TaskInstance)
    )
    session.execute(
        update(TaskInstance)
        .where(TaskInstance.id.in_(alive.scalar_subquery()))
        .values(last_heartbeat_at=func.now())
        .execution_options(synchronize_session=False)
    )
    tokens = {each: generator.generate(extras={"sub": str(each), "scope": "execution"}) for each in ids}
    run(session, outages.store_tokens(tokens))
