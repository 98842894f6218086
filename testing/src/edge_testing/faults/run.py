"""One seed: start the site, trigger the runs, break and repair until the work is done, look from outside."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from edge_demo.airflow_client import FINISHED_RUN_STATES
from edge_demo.processes import ManagedProcess, ProcessError, answers
from edge_testing.faults.breaking import Breaker, Injected, NothingToBreakError
from edge_testing.faults.executions import ended_tasks, read_executions
from edge_testing.faults.facts import Facts, read_facts, read_memory, unfinished
from edge_testing.faults.plan import AIRFLOW, FAULTS_PER_WAVE, Fault, Kind, Plan, silenced_by, worker_name
from edge_testing.faults.rules import violations
from edge_testing.faults.site import DAG_ID, Site

TURN_S = 0.1
RESTART_S = 5.0
"""`RestartSec` of the worker's systemd unit; the other parts are restarted after the same time."""
RUNS_TIMEOUT_S = 300.0
"""Time for the rest of the work after the last fault."""
FINAL_WITHIN_S = 60.0
"""Time after the last run for everything to become final."""
WORK_AHEAD = 0.8
"""When all faults have begun, about this part of the tasks has ended."""
WORK_PATIENCE_S = 15.0
"""A fault waits at most this long for tasks to end, since the faults before may have stopped them."""
BACK_WITHIN_S = 180.0
"""Time for a part to be back after an outage: long, since it includes the start of Airflow on a busy machine."""
HEARD_S = 8
"""A worker with a heartbeat within this time is heard: before an outage of 20 s, it won't be silent for 30 s."""
GONE_FOR_GOOD = (2, 3)
"""Exit codes after which systemd does not restart a worker."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """What one seed came to."""

    seed: int
    faults: dict[str, int]
    tasks: int
    tries_lost: int
    """Tries that were used up by faults that may do so."""
    seconds: float
    violations: list[str] = field(default_factory=list)
    not_broken: list[str] = field(default_factory=list)
    """What this machine could not break."""


class Campaign:
    """The loop that breaks, repairs and restarts.

    One thread: the kernel ends a child with the thread that started it.
    """

    def __init__(self, site: Site, plan: Plan, say: Say) -> None:
        self._site = site
        self._plan = plan
        self._say = say
        self._breaker = Breaker(site)
        self._began = time.monotonic()
        self._waited_s = 0.0
        self._ended_at: dict[str, float] = {}
        self._lasting: list[tuple[float, ExitStack, Injected]] = []
        self.runs: list[str] = []
        self.injected: list[Injected] = []
        self.violations: list[str] = []

    def inject(self) -> None:
        """Carry out the plan, until the work is done; everything is repaired at the end."""
        try:
            for number, fault in enumerate(self._plan.faults):
                while self._elapsed_s - self._waited_s < fault.at_s:
                    self._turn()
                if number % FAULTS_PER_WAVE == 0:
                    self._start_wave(f"wave-{number // FAULTS_PER_WAVE}")
                self._wait_for_work(WORK_AHEAD * number / len(self._plan.faults))
                self._wait_until_heard(silenced_by(fault))
                if self._ended >= self._plan.work.tasks:
                    break
                self._inject(fault)
            while self._lasting:
                self._turn()
        finally:
            for _, repairs, _ in self._lasting:
                repairs.close()

    def wait_for_runs(self) -> None:
        """Wait for the runs to end, and restart what ends meanwhile."""
        deadline = time.monotonic() + RUNS_TIMEOUT_S
        while time.monotonic() < deadline:
            self._turn()
            with suppress(httpx.HTTPError):
                if all(self._site.airflow.run_state(DAG_ID, run) in FINISHED_RUN_STATES for run in self.runs):
                    return
                time.sleep(1)
        self.violations.append(f"the runs have not ended {RUNS_TIMEOUT_S:g} s after the last fault")

    def wait_until_final(self) -> None:
        """Wait until nothing is unfinished; what remains so becomes a violation later."""
        deadline = time.monotonic() + FINAL_WITHIN_S
        while list(unfinished(self._site)) and time.monotonic() < deadline:
            self._turn()
            time.sleep(1)

    @property
    def _ended(self) -> int:
        return len(ended_tasks(read_executions(self._site.executions)))

    def _start_wave(self, run: str) -> None:
        """Trigger a run, as soon as nothing is broken: a call that hangs would keep what is broken from its repair."""
        began = time.monotonic()
        self.runs.append(run)
        while time.monotonic() - began < BACK_WITHIN_S:
            self._turn()
            if not self._lasting:
                try:
                    self._site.airflow.trigger(DAG_ID, run_id=run)
                    break
                except httpx.HTTPStatusError as error:
                    if error.response.status_code == httpx.codes.CONFLICT:
                        break
                except httpx.TransportError:
                    continue
        self._waited_s += time.monotonic() - began

    def _wait_for_work(self, part: float) -> None:
        """Wait a while for this part of the tasks to end: on a slow machine too, faults hit tasks that run."""
        began = time.monotonic()
        while self._ended < part * self._plan.work.tasks and time.monotonic() - began < WORK_PATIENCE_S:
            self._turn()
        self._waited_s += time.monotonic() - began

    def _wait_until_heard(self, parts: Sequence[str]) -> None:
        """Wait until everything is back that the next fault silences, however slow the machine; the plan waits."""
        began = time.monotonic()
        while missing := self._silent(parts):
            if time.monotonic() - began > BACK_WITHIN_S:
                self.violations.append(f"not back {BACK_WITHIN_S:g} s after the last fault: {', '.join(missing)}")
                break
            self._turn()
        self._waited_s += time.monotonic() - began

    def _silent(self, parts: Sequence[str]) -> list[str]:
        if not parts:
            return []
        heard = {
            row.name
            for row in self._site.rows(
                "SELECT name FROM edge.worker WHERE session_id IS NOT NULL AND NOT offline"
                " AND last_heartbeat > now() - make_interval(secs => :heard_s)",
                heard_s=HEARD_S,
            )
        }
        health = self._site.airflow.health()
        if health.get("scheduler") == health.get("metadatabase") == "healthy":
            heard.add(AIRFLOW)
        return [part for part in parts if part not in heard]

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _inject(self, fault: Fault) -> None:
        repairs = ExitStack()
        began = time.time()
        with repairs:
            try:
                task = self._breaker.break_it(fault, repairs)
            except NothingToBreakError:
                return
            self._say(f"{self._elapsed_s:5.0f} s  {self._ended:3}/{self._plan.work.tasks} tasks  {fault}")
            note = Injected(fault.kind, worker_name(fault.target), began, time.time(), task)
            self._lasting.append((time.monotonic() + fault.duration_s, repairs.pop_all(), note))

    def _turn(self) -> None:
        for entry in [entry for entry in self._lasting if time.monotonic() >= entry[0]]:
            _, repairs, note = entry
            repairs.close()
            if note.kind is Kind.KILL_EDGE_API and not self._all_apis_are_ready():
                continue  # it is over when the replica is back
            self._lasting.remove(entry)
            self.injected.append(replace(note, ended=time.time()))
        for process in self._site.ended():
            self._restart_later(process)
        time.sleep(TURN_S)

    def _all_apis_are_ready(self) -> bool:
        return all(answers(f"{url}/readyz") for url in self._site.edge_api_urls)

    def _restart_later(self, process: ManagedProcess) -> None:
        if process.returncode in GONE_FOR_GOOD and process.name.startswith("worker-"):
            text = f"{process.name} has ended with exit code {process.returncode}, after which it is not restarted"
            if text not in self.violations:
                self.violations.append(text)
            return
        ended_at = self._ended_at.setdefault(process.name, time.monotonic())
        if time.monotonic() - ended_at >= RESTART_S:
            del self._ended_at[process.name]
            process.start()


def run_seed(plan: Plan, folder: Path, evidence: Path, say: Say) -> Result:
    """Run one seed in a fresh folder; on violations keep the evidence."""
    began = time.monotonic()
    site = Site(folder, plan.work, lambda part: say(f"       starting {part}"))
    facts: Facts | None = None
    with site:
        site.wait_dags([DAG_ID], timeout_s=120)
        memory = read_memory(site)
        site.airflow.unpause(DAG_ID)
        campaign = Campaign(site, plan, say)
        campaign.inject()
        say("       all faults are over; waiting for the runs")
        campaign.wait_for_runs()
        campaign.wait_until_final()
        found = campaign.violations
        try:
            facts = read_facts(site, campaign.runs, memory)
        except (httpx.HTTPError, ProcessError) as error:
            found.append(f"the facts cannot be read: {error}")
        if facts is not None:
            found += violations(plan.work, facts, campaign.injected)
        if found:
            _keep_evidence(site, campaign.injected, found, evidence)
    found += [f"left after the end: {process}" for process in site.processes_left()]
    return Result(
        seed=plan.seed,
        faults=dict(sorted(Counter(str(fault.kind) for fault in campaign.injected).items())),
        tasks=plan.work.tasks,
        tries_lost=sum(not one.current for one in facts.tries) if facts is not None else 0,
        seconds=round(time.monotonic() - began, 1),
        violations=found,
        not_broken=site.missing,
    )


def _keep_evidence(site: Site, injected: list[Injected], found: list[str], evidence: Path) -> None:
    """Copy logs and notes, and dump the tables: the site's folder is deleted."""
    evidence.mkdir(parents=True, exist_ok=True)
    (evidence / "violations.txt").write_text("\n".join(found) + "\n")
    (evidence / "faults.txt").write_text("\n".join(map(str, injected)) + "\n")
    for log in site.folder.glob("*.log"):
        shutil.copy(log, evidence)
    shutil.copytree(site.executions, evidence / "executions", dirs_exist_ok=True)
    for table in ("edge.job", "edge.lease", "edge.worker", "edge.worker_desired", "edge.audit", "dag_run",
                  "task_instance", "task_instance_history", "log", "job"):  # fmt: skip
        rows = site.rows(f"SELECT to_jsonb(t)::text AS row FROM {table} AS t")  # noqa: S608
        (evidence / f"{table}.jsonl").write_text("".join(f"{row.row}\n" for row in rows))
