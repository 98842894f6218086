"""Carries out faults on a site, and repairs what they broke."""

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import psutil

from edge_testing.faults.executions import read_executions
from edge_testing.faults.plan import Fault, Kind, worker_name
from edge_testing.faults.site import Site

TEMPLATE = "edge_worker.runner.template"


@dataclass(frozen=True)
class Injected:
    """A fault that happened. Times are of the wall clock, as in the database."""

    kind: Kind
    worker: str
    began: float
    ended: float
    task: str = ""
    """`run~task~map~try` of a task that was killed."""


class NothingToBreakError(Exception):
    """The fault has no target now: no task runs, the process is about to be restarted, or the machine can't do it."""


class Breaker:
    """One method per kind of fault; each may leave repairs to be done later."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._task = ""

    def break_it(self, fault: Fault, repairs: ExitStack) -> str:
        """Carry out a fault; return the key of the task that it killed, if it killed one.

        Raises:
            NothingToBreakError: there is nothing to break.

        """
        self._task = ""
        self._action(fault.kind)(fault, repairs)
        return self._task

    def _action(self, kind: Kind) -> Callable[[Fault, ExitStack], None]:
        match kind:
            case Kind.KILL_AGENT | Kind.KILL_EDGE_API | Kind.KILL_SCHEDULER | Kind.KILL_API_SERVER:
                return self._kill_process
            case Kind.KILL_TEMPLATE:
                return self._kill_template
            case Kind.KILL_TASK:
                return self._kill_task
            case Kind.STOP_AGENT:
                return self._stop_agent
            case Kind.DATABASE_CRASH | Kind.DATABASE_STALL | Kind.DATABASE_READ_ONLY | Kind.DATABASE_TERMINATE:
                return self._database
            case Kind.CUT | Kind.DELAY | Kind.HALF_OPEN | Kind.REPLICA_CUT:
                return self._connections
            case Kind.DISK_FULL:
                return self._fill_disk
            case Kind.CLOCK_JUMP:
                return self._jump

    def _kill_process(self, fault: Fault, _: ExitStack) -> None:
        names = {Kind.KILL_SCHEDULER: "scheduler", Kind.KILL_API_SERVER: "api-server"}
        default = worker_name(fault.target) if fault.kind is Kind.KILL_AGENT else f"edge-api-{fault.target}"
        process = self._site.processes[names.get(fault.kind, default)]
        if not process.running:
            raise NothingToBreakError
        process.kill()

    def _kill_template(self, fault: Fault, _: ExitStack) -> None:
        agent = self._agent(fault)
        templates = [child for child in agent.children() if TEMPLATE in " ".join(child.cmdline())]
        if not templates:
            raise NothingToBreakError
        templates[0].kill()

    def _kill_task(self, fault: Fault, _: ExitStack) -> None:
        # One of that worker if it has any.
        executions = read_executions(self._site.executions)
        executions.sort(key=lambda one: one.worker != worker_name(fault.target))
        for execution in executions:
            if execution.last_event in ("start", "tick"):
                with suppress(psutil.Error):
                    process = psutil.Process(execution.pid)
                    # The task may have been killed before, and its process id belong to somebody else.
                    if self._site.owns(process):
                        process.kill()
                        self._task = execution.try_key
                        return
        raise NothingToBreakError

    def _stop_agent(self, fault: Fault, repairs: ExitStack) -> None:
        agent = self._agent(fault)
        agent.suspend()
        repairs.callback(_resume, agent)

    def _database(self, fault: Fault, repairs: ExitStack) -> None:
        postgres = self._site.postgres
        match fault.kind:
            case Kind.DATABASE_CRASH:
                postgres.restart()
            case Kind.DATABASE_STALL:
                repairs.enter_context(postgres.stalled())
            case Kind.DATABASE_READ_ONLY:
                postgres.execute("ALTER SYSTEM SET default_transaction_read_only = on")
                repairs.callback(postgres.execute, "SELECT pg_reload_conf()")
                repairs.callback(postgres.execute, "ALTER SYSTEM RESET default_transaction_read_only")
                postgres.execute("SELECT pg_reload_conf()")
            case _:
                postgres.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = 'airflow' AND pid <> pg_backend_pid()"
                )

    def _connections(self, fault: Fault, repairs: ExitStack) -> None:
        name = f"edge-api-{fault.target}" if fault.kind is Kind.REPLICA_CUT else worker_name(fault.target)
        relay = self._site.relays[name]
        match fault.kind:
            case Kind.CUT:
                relay.cut()
            case Kind.DELAY:
                relay.delay_s = fault.amount
                repairs.callback(setattr, relay, "delay_s", 0.0)
            case _:
                relay.stop_forwarding()
                repairs.callback(relay.resume_forwarding)

    def _fill_disk(self, _: Fault, repairs: ExitStack) -> None:
        if not os.path.ismount(self._site.disk):
            raise NothingToBreakError
        ballast = self._site.disk / "ballast"
        repairs.callback(ballast.unlink)
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))

    def _jump(self, fault: Fault, repairs: ExitStack) -> None:
        agent = self._site.processes[worker_name(fault.target)]
        if "LD_PRELOAD" not in agent.env:
            raise NothingToBreakError
        repairs.callback(self._site.clock.write_text, "+0")
        self._site.clock.write_text(f"{fault.amount:+.0f}")

    def _agent(self, fault: Fault) -> psutil.Process:
        process = self._site.processes[worker_name(fault.target)]
        if not process.running:
            raise NothingToBreakError
        return psutil.Process(process.pid)


def _resume(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.resume()
