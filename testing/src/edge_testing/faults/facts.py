"""What is true when all faults are over, read from outside: Airflow's tables, schema `edge`, logs, processes, disks."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from edge_protocol.job_state import FINISHED_STATES
from edge_testing.faults.executions import Execution, read_executions
from edge_testing.faults.plan import WORKERS, worker_name
from edge_testing.faults.site import Site

_LINE = re.compile(r"^line ([ab]) (\d+)$")


@dataclass(frozen=True)
class Try:
    """One try of a task, as Airflow has it, and the job of the edge executor that ran it."""

    task: str
    try_number: int
    state: str
    current: bool
    """It is the try that Airflow shows; the others are history."""
    worker: str
    leased_at: float
    finished_at: float
    error: str

    @property
    def key(self) -> str:
        """`dag~task~map~try`."""
        return f"{self.task}~{self.try_number}"


@dataclass(frozen=True)
class Facts:
    """Everything that the rules look at."""

    runs: dict[str, str]
    tries: Sequence[Try]
    executions: Sequence[Execution]
    logs: dict[str, list[str]]
    """By try, the sections and numbers of the lines in its log, as `a 0`."""
    unfinished: Sequence[str] = ()
    left_running: Sequence[str] = ()
    memory_mb: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By edge API: before the first task, and now."""


def read_facts(site: Site, runs: dict[str, str], memory_before: dict[str, float]) -> Facts:
    """Read everything; the site is quiet, and all its parts run."""
    tries = read_tries(site)
    executions = read_executions(site.executions)
    executed = {execution.try_key for execution in executions}
    after = read_memory(site)
    return Facts(
        runs={dag: site.airflow.run_state(dag, run) for dag, run in runs.items()},
        tries=tries,
        executions=executions,
        logs={one.key: _log(site, runs, one) for one in tries if one.key in executed},
        unfinished=list(unfinished(site)),
        left_running=list(left_running(site)),
        memory_mb={name: (before, after[name]) for name, before in memory_before.items()},
    )


def read_tries(site: Site) -> list[Try]:
    """Return all tries of all tasks."""
    rows = site.rows(
        "SELECT one.*, coalesce(job.worker_name, '') AS worker_name, coalesce(job.error, '') AS error,"
        " coalesce(extract(epoch FROM job.leased_at), 0) AS leased_at,"
        " coalesce(extract(epoch FROM job.finished_at), 0) AS finished_at"
        " FROM (SELECT id, dag_id, task_id, map_index, try_number, state, true AS current FROM task_instance"
        " UNION ALL SELECT task_instance_id, dag_id, task_id, map_index, try_number, state, false"
        " FROM task_instance_history) AS one"
        " LEFT JOIN edge.job ON job.id = one.id"
    )
    return [
        Try(
            task=f"{row.dag_id}~{row.task_id}~{row.map_index}",
            try_number=row.try_number,
            state=str(row.state),
            current=row.current,
            worker=row.worker_name,
            leased_at=float(row.leased_at),
            finished_at=float(row.finished_at),
            error=row.error,
        )
        for row in rows
    ]


def read_memory(site: Site) -> dict[str, float]:
    """Return the resident memory of each edge API, in MB."""
    return {
        name: psutil.Process(process.pid).memory_info().rss / (1 << 20)
        for name, process in site.processes.items()
        if name.startswith("edge-api")
    }


def unfinished(site: Site) -> Iterator[str]:
    """Yield what is not final: jobs, events, workers, and leases on the workers' disks."""
    # Nobody takes the event of a scheduler that died, if Airflow knows from the task itself that it has ended.
    jobs = (
        "SELECT edge.job.* FROM edge.job LEFT JOIN task_instance AS ti ON ti.id = edge.job.id"
        " WHERE edge.job.state <> ALL(:final) OR event_pending AND (ti.state NOT IN ('success', 'failed')"
        " OR owner = (SELECT max(id)::text FROM job WHERE job_type = 'SchedulerJob'))"
    )
    for job in site.rows(jobs, final=[state.value for state in FINISHED_STATES]):
        pending = ", its event was not taken" if job.event_pending else ""
        yield f"job {job.dag_id}~{job.task_id}~{job.map_index}~{job.try_number} is {job.state}{pending}"
    workers = (
        "SELECT * FROM edge.worker LEFT JOIN edge.worker_desired ON worker_name = name"
        " WHERE session_id IS NULL OR offline OR lost OR terminating OR jobs_active > 0"
        " OR free_slots <> worker.concurrency OR coalesce(maintenance, false) OR maintenance_acknowledged"
    )
    for worker in site.rows(workers):
        facts = {name: value for name, value in worker._asdict().items() if name not in ("sysinfo", "versions")}
        yield f"worker {worker.name} is not idle: {facts}"
    for number in range(WORKERS):
        for folder in Path(site.folder, worker_name(number), "state", "leases").glob("*"):
            yield f"{worker_name(number)} still has lease {folder.name}"


def left_running(site: Site) -> Iterator[str]:
    """Yield processes that should have ended, on an idle platform: of tasks, orphans, zombies."""
    known = set()
    for name, managed in site.processes.items():
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(managed.pid)
            runners = top.children()
            tree = top.children(recursive=True)
            known |= {top.pid, *(child.pid for child in tree)}
            for child in tree:
                if child.status() == psutil.STATUS_ZOMBIE:
                    yield f"{name} has a zombie, {child.pid}"
                elif name.startswith("worker-") and child not in runners:
                    yield f"{name} has the process of a task, {child.pid}: {' '.join(child.cmdline())}"
    for process in site.processes_left():
        with suppress(psutil.Error):
            if process.pid not in known:
                yield f"orphan {process.pid}: {' '.join(process.cmdline())}"


def _log(site: Site, runs: dict[str, str], one: Try) -> list[str]:
    dag, task, map_index = one.task.split("~")
    events = site.airflow.log_events(dag, runs[dag], task, one.try_number, int(map_index))
    return [" ".join(match.groups()) for event in events if (match := _LINE.match(event))]
