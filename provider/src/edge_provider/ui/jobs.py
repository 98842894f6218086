"""Jobs: the list, why one does not start, and the story of one task instance.

The ids of jobs whose DAG the user may not read are hidden; jobs of other teams are not shown at all.
"""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel

from edge_protocol.admin import JOBS_PATH, Explanation, JobPage, JobView, WorkerView, worker_path
from edge_protocol.job_state import JobState
from edge_protocol.limits import QUEUE_NAME_MAX, WORKER_NAME_MAX
from edge_provider.ui.access import Viewer, WhoLooks, forbidden
from edge_provider.ui.client import EdgeApi, EdgeApiError
from edge_provider.ui.fleet import Fleet

PAGE = 100
TRIES_MOST = 20
PAGES_MOST = 10
"""Pages of the edge API that are read for one page of a user who sees few of the jobs."""

DagId = Annotated[str, Query(max_length=250)]


class JobRow(JobView):
    """A job as one user may see it."""

    hidden: bool
    """The user may not read its DAG."""


class JobRows(BaseModel):
    """Jobs, most recently queued first."""

    items: list[JobRow]
    next: str | None


class WorkerReasons(BaseModel):
    """Why one worker does not run a job. Without reasons, it can."""

    name: str
    reasons: list[str]


class Answer(BaseModel):
    """Why a job is where it is."""

    job: JobRow
    verdict: str
    message: str
    workers: list[WorkerReasons]


class TaskStory(BaseModel):
    """What the fleet knows about a task instance."""

    tries: list[JobRow]
    """The latest first. Empty: it was never queued for an edge worker, or that is too long ago."""
    why: Answer | None
    """Why the latest has not started."""
    worker: WorkerView | None
    """The worker that has or had the latest."""


class JobPages:
    """Reads jobs."""

    def __init__(self, api: EdgeApi, fleet: Fleet) -> None:
        self._api = api
        self._fleet = fleet
        self.router = router = APIRouter()
        router.get("/jobs")(self.jobs)
        router.get("/jobs/{job_id}/explain")(self.explain)
        router.get("/task")(self.task)

    async def jobs(
        self,
        viewer: WhoLooks,
        state: Annotated[list[JobState] | None, Query()] = None,
        queue: Annotated[str | None, Query(max_length=QUEUE_NAME_MAX)] = None,
        worker: Annotated[str | None, Query(max_length=WORKER_NAME_MAX)] = None,
        dag_id: DagId | None = None,
        cursor: Annotated[str | None, Query(max_length=2048)] = None,
    ) -> JobRows:
        """List jobs."""
        if dag_id is not None and dag_id not in await viewer.readable_dags([dag_id]):
            raise forbidden(f"You may not read the DAG {dag_id}.")
        found: list[JobView] = []
        for _ in range(PAGES_MOST):
            page = await self._api.get(
                JobPage,
                JOBS_PATH,
                state=state,
                queue=queue,
                worker=worker,
                dag_id=dag_id,
                limit=PAGE,
                cursor=cursor,
            )
            found += [job for job in page.items if viewer.sees_team(job.team)]
            cursor = page.next
            if cursor is None or len(found) >= PAGE:
                break
        return JobRows(items=await _rows(viewer, found), next=cursor)

    async def explain(self, viewer: WhoLooks, job_id: UUID) -> Answer:
        """Answer "why is it not starting?"."""
        found = await self._api.get(Explanation, f"{JOBS_PATH}/{job_id}/explain")
        if not viewer.sees_team(found.job.team):
            raise EdgeApiError(404, "job_unknown", f"There is no job {job_id}.")
        known = await self._fleet.all()
        visible = {name for name, worker in known.items() if viewer.sees_team(worker.team)}
        return Answer(
            job=(await _rows(viewer, [found.job]))[0],
            verdict=found.verdict,
            message=found.message,
            workers=[
                WorkerReasons(name=worker.name, reasons=[reason.message for reason in worker.reasons])
                for worker in found.workers
                if worker.name in visible
            ],
        )

    async def task(
        self,
        viewer: WhoLooks,
        dag_id: DagId,
        run_id: Annotated[str, Query(max_length=250)],
        task_id: Annotated[str, Query(max_length=250)],
        map_index: int = -1,
    ) -> TaskStory:
        """Return what the fleet knows about a task instance."""
        if not await viewer.may_read_task(dag_id):
            raise forbidden(f"You may not read the tasks of the DAG {dag_id}.")
        page = await self._api.get(
            JobPage,
            JOBS_PATH,
            dag_id=dag_id,
            run_id=run_id,
            task_id=task_id,
            map_index=map_index,
            limit=TRIES_MOST,
        )
        tries = [JobRow(**job.model_dump(), hidden=False) for job in page.items if viewer.sees_team(job.team)]
        if not tries:
            return TaskStory(tries=[], why=None, worker=None)
        latest = tries[0]
        waits = latest.state in (JobState.QUEUED, JobState.LEASED)
        return TaskStory(
            tries=tries,
            why=await self.explain(viewer, latest.id) if waits else None,
            worker=None if latest.worker is None else await self._worker(viewer, latest.worker),
        )

    async def _worker(self, viewer: Viewer, name: str) -> WorkerView | None:
        try:
            worker = await self._api.get(WorkerView, worker_path(name))
        except EdgeApiError as error:
            if error.problem.status == 404:
                return None
            raise
        return worker if viewer.sees_team(worker.team) else None


async def _rows(viewer: Viewer, jobs: Sequence[JobView]) -> list[JobRow]:
    readable = await viewer.readable_dags(job.dag_id for job in jobs if job.dag_id is not None)
    return [_row(job, hidden=job.dag_id is not None and job.dag_id not in readable) for job in jobs]


def _row(job: JobView, *, hidden: bool) -> JobRow:
    values = job.model_dump()
    if hidden:
        # The text of an error is the task's own.
        values |= dict.fromkeys(("dag_id", "run_id", "task_id", "map_index", "try_number", "error"))
    return JobRow(**values, hidden=hidden)
