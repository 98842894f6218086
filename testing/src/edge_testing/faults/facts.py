"""What is true when all faults are over, read from outside: Airflow's tables, schema `edge`, logs, processes, disks."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from edge_protocol.job_state import FINISHED_STATES
from edge_testing.faults.executions import Execution, read_executions
from edge_testing.faults.plan import WORKERS, worker_name
from edge_testing.faults.site import DAG_ID, Site

GUARD = "edge_demo.guard"
"""The process that stops PostgreSQL if the platform is killed."""
_LINE = re.compile(r"^line ([ab]) (\d+)$")


@dataclass(frozen=True)
class Try:
    """One try of a task."""

    task: str
    """`run~task~map`."""
    try_number: int
    state: str
    current: bool
    """It is the try that Airflow shows; the others are history."""
    in_airflow: bool = True
    """Airflow keeps no history of a try that failed before its process had said that it runs."""
    worker: str = ""
    """The worker that had the try last."""
    leased_at: float = 0.0
    ended_before: float = float("inf")
    """When the next try was given to a worker."""

    @property
    def key(self) -> str:
        """`run~task~map~try`."""
        return f"{self.task}~{self.try_number}"

    @property
    def log_path(self) -> str:
        """Airflow's path of the log."""
        run, task, map_index = self.task.split("~")
        of_map = f"map_index={map_index}/" if map_index != "-1" else ""
        return f"dag_id={DAG_ID}/run_id={run}/task_id={task}/{of_map}attempt={self.try_number}.log"


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


def read_facts(site: Site, runs: Sequence[str], memory_before: dict[str, float]) -> Facts:
    """Read everything; the site is quiet, and all its parts run."""
    tries = read_tries(site)
    executions = read_executions(site.executions)
    executed = {execution.try_key for execution in executions}
    after = read_memory(site)
    return Facts(
        runs={run: site.airflow.run_state(DAG_ID, run) for run in runs},
        tries=tries,
        executions=executions,
        logs={one.key: _log(site, one) for one in tries if one.key in executed},
        unfinished=list(unfinished(site)),
        left_running=list(left_running(site)),
        memory_mb={name: (before, after[name]) for name, before in memory_before.items()},
    )


def read_tries(site: Site) -> list[Try]:
    """Return all tries of all tasks."""
    states = {
        (f"{row.run_id}~{row.task_id}~{row.map_index}", row.try_number): row
        for row in site.rows(
            "SELECT run_id, task_id, map_index, try_number, state, false AS current FROM task_instance_history"
            " UNION ALL SELECT run_id, task_id, map_index, try_number, state, true FROM task_instance"
        )
    }
    leases = defaultdict(list)
    for lease in site.rows("SELECT log_path, worker_name, granted_at FROM edge.lease ORDER BY granted_at"):
        leases[lease.log_path].append(lease)
    tries = []
    for (task, last), row in states.items():
        for number in range(1, last + 1) if row.current else ():
            known = states.get((task, number))
            one = Try(task, number, str(known.state if known else "failed"), number == last, known is not None)
            if held := leases[one.log_path]:
                one = replace(one, worker=held[-1].worker_name, leased_at=held[-1].granted_at.timestamp())
            if following := leases[replace(one, try_number=number + 1).log_path]:
                one = replace(one, ended_before=following[0].granted_at.timestamp())
            tries.append(one)
    return tries


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
            if process.pid not in known and GUARD not in process.cmdline():
                yield f"orphan {process.pid}: {' '.join(process.cmdline())}"


def _log(site: Site, one: Try) -> list[str]:
    """Return the numbered lines of a log, as Airflow shows it; what Airflow does not show is read from the database."""
    run, task, map_index = one.task.split("~")
    if one.in_airflow:
        events = site.airflow.log_events(DAG_ID, run, task, one.try_number, int(map_index))
    else:
        chunks = site.rows(
            "SELECT data FROM edge.log JOIN edge.lease ON id = lease_id WHERE log_path = :path"
            " ORDER BY granted_at, id, start",
            path=one.log_path,
        )
        lines = b"".join(bytes(chunk.data) for chunk in chunks).splitlines()
        events = [json.loads(line).get("event", "") for line in lines if line.startswith(b"{")]
    return [" ".join(match.groups()) for event in events if (match := _LINE.match(event))]
