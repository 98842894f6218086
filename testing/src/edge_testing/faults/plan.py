"""The faults of one seed: a pure function of the seed.

Faults overlap as real ones do, within one bound: what silences a worker ends, and leaves it `RECOVERY_S` to be heard,
before the next one silences it. Otherwise two legal outages would add up to one that may cost its jobs.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

WORKERS = 4
EDGE_APIS = 2
SPACING_S = 2.0
"""Mean time between the beginnings of two faults."""
OUTAGE_MAX_S = 20.0
"""Longest outage: all of them together must not cost a try."""
REPLICA_CUT_MAX_S = 10.0
"""Shorter, since a worker here knows one edge API, and silence counts from its last heartbeat that was stored."""
RECOVERY_S = 6.0
"""Least time between two outages of one part; `run` waits until it was heard, too."""
AIRFLOW = "airflow"
"""The name of Airflow among the parts that a fault silences."""
SMALL_DISK = 3
"""The worker whose disk can be filled."""
OWN_CLOCK = 2
"""The worker whose agent has a clock that can jump."""


class Kind(StrEnum):
    """What is broken. The text is the name in results."""

    KILL_AGENT = "agent killed"
    KILL_TEMPLATE = "template killed"
    KILL_TASK = "task killed"
    KILL_EDGE_API = "edge API killed"
    KILL_SCHEDULER = "scheduler killed"
    KILL_API_SERVER = "api-server killed"
    STOP_AGENT = "agent stopped (SIGSTOP)"
    DATABASE_CRASH = "PostgreSQL crashed"
    DATABASE_STALL = "PostgreSQL stalled"
    DATABASE_READ_ONLY = "PostgreSQL read-only"
    DATABASE_TERMINATE = "database sessions terminated"
    CUT = "connections cut"
    DELAY = "connections delayed"
    HALF_OPEN = "connections half-open"
    DISK_FULL = "worker's disk full"
    CLOCK_JUMP = "worker's clock jumped"
    REPLICA_CUT = "edge API cut off from PostgreSQL"


FAULTS_PER_WAVE = 5
"""The tasks are started in waves, one per so many faults, so that faults always meet tasks that run."""

MAY_COST_A_TRY = frozenset({Kind.KILL_AGENT, Kind.KILL_TEMPLATE, Kind.KILL_TASK, Kind.DISK_FULL})
"""Faults that end a task, or keep one from starting, on the worker that they hit. No other fault may cost a try."""

TOLERATED_REPLICA_S = 14.0
"""A replica may be away this long: 30 s of silence less the time since the last heartbeat and the reconnect's delay."""

_DATABASE = frozenset({Kind.DATABASE_CRASH, Kind.DATABASE_STALL, Kind.DATABASE_READ_ONLY, Kind.DATABASE_TERMINATE})
OF_A_REPLICA = frozenset({Kind.KILL_EDGE_API, Kind.REPLICA_CUT})
_AIRFLOW = frozenset({Kind.KILL_SCHEDULER, Kind.KILL_API_SERVER})
_LASTING = frozenset(
    {
        Kind.STOP_AGENT,
        Kind.DATABASE_STALL,
        Kind.DATABASE_READ_ONLY,
        Kind.DELAY,
        Kind.HALF_OPEN,
        Kind.DISK_FULL,
        Kind.CLOCK_JUMP,
        Kind.REPLICA_CUT,
    }
)
_LOUD = frozenset({Kind.DISK_FULL, Kind.CLOCK_JUMP, Kind.KILL_TASK, Kind.KILL_TEMPLATE, Kind.KILL_AGENT, Kind.CUT})
"""Faults of a worker that don't silence it, or only for as long as its agent takes to be back."""
_ALWAYS_POSSIBLE = (Kind.KILL_AGENT, Kind.KILL_TEMPLATE, Kind.KILL_TASK, Kind.CUT)


@dataclass(frozen=True)
class Fault:
    """One fault; `duration_s` is 0 if it is over at once."""

    at_s: float
    kind: Kind
    target: int = 0
    """Index of the worker or of the edge API."""
    duration_s: float = 0.0
    amount: float = 0.0
    """Seconds of delay, or of the jump of a clock."""

    def __str__(self) -> str:
        if self.kind in OF_A_REPLICA:
            where = f", edge-api-{self.target}"
        elif self.kind in _DATABASE | _AIRFLOW:
            where = ""
        else:
            where = f", {worker_name(self.target)}"
        lasting = f", {self.duration_s:.0f} s" if self.duration_s else ""
        return f"{self.kind}{where}{lasting}"


@dataclass(frozen=True)
class Work:
    """The tasks that run meanwhile: each wave is a run of the same DAG."""

    seed: int
    waves: int
    chains: int = 2
    chain_length: int = 5
    mapped: int = 6
    deferring: int = 4

    @property
    def tasks(self) -> int:
        """Number of task instances."""
        return self.waves * (self.chains * self.chain_length + self.mapped + self.deferring)


@dataclass(frozen=True)
class Plan:
    """Everything that happens for one seed."""

    seed: int
    work: Work
    faults: tuple[Fault, ...]


def worker_name(index: int) -> str:
    """Return the name of a worker."""
    return f"worker-{index + 1}"


def api_of(worker: int) -> int:
    """Return the index of the edge API that a worker connects to."""
    return worker % EDGE_APIS


def full_plan(seed: int) -> Plan:
    """Return the plan of a seed of the campaign: 200 tasks."""
    return _plan(seed, waves=10)


def short_plan(seed: int) -> Plan:
    """Return a plan that fits in a test."""
    return _plan(seed, waves=3)


def _plan(seed: int, waves: int) -> Plan:
    return Plan(seed, Work(seed, waves), plan_faults(seed, FAULTS_PER_WAVE * waves))


def plan_faults(seed: int, count: int) -> tuple[Fault, ...]:
    """Return the faults of a seed, in the order of their times."""
    # Faults are repeatable; they are no secret.
    source = random.Random(seed)  # noqa: S311
    quiet = _QuietTimes()
    faults: list[Fault] = []
    kinds: list[Kind] = []
    at_s = SPACING_S
    while len(faults) < count:
        # Each kind once before any comes twice, so that every seed has nearly all of them. While what is left would
        # silence what is silent already, others come in between.
        kinds = kinds or source.sample(list(Kind), len(Kind))
        position, fault = next(
            (position, fault)
            for position, kind in enumerate([*kinds, source.choice(_ALWAYS_POSSIBLE)])
            if quiet.allow(fault := _fault(source, kind, round(at_s, 2)))
        )
        if position < len(kinds):
            del kinds[position]
        quiet.note(fault)
        faults.append(fault)
        at_s += source.uniform(0.5, 1.5) * SPACING_S
    return tuple(faults)


def _fault(source: random.Random, kind: Kind, at_s: float) -> Fault:
    amounts: dict[Kind, Callable[[], float]] = {
        Kind.DELAY: lambda: round(source.uniform(0.05, 0.5), 2),
        Kind.CLOCK_JUMP: lambda: float(source.choice((-86400, -3600, -30, 30, 3600, 86400))),
    }
    targets = {Kind.DISK_FULL: SMALL_DISK, Kind.CLOCK_JUMP: OWN_CLOCK}
    if kind in OF_A_REPLICA:
        target = source.randrange(EDGE_APIS)
    elif kind in _DATABASE | _AIRFLOW:
        target = 0
    else:
        target = targets.get(kind, source.randrange(WORKERS))
    longest_s = REPLICA_CUT_MAX_S if kind is Kind.REPLICA_CUT else OUTAGE_MAX_S
    duration_s = round(source.uniform(1, longest_s), 1) if kind in _LASTING else 0.0
    return Fault(at_s, kind, target, duration_s, amounts.get(kind, lambda: 0.0)())


class _QuietTimes:
    """For each part, the time from which it may be silenced again."""

    def __init__(self) -> None:
        self._free_at: dict[str, float] = {}

    def allow(self, fault: Fault) -> bool:
        return all(self._free_at.get(part, 0.0) <= fault.at_s for part in _occupied_by(fault))

    def note(self, fault: Fault) -> None:
        until = fault.at_s + fault.duration_s + RECOVERY_S
        self._free_at |= dict.fromkeys(_occupied_by(fault), until)


def _occupied_by(fault: Fault) -> list[str]:
    # A loud fault that lasts ends before the next of its kind, since each repairs what it broke.
    return silenced_by(fault) or [f"{fault.kind} of {worker_name(fault.target)}"] * bool(fault.duration_s)


def silenced_by(fault: Fault) -> list[str]:
    """Return what a fault silences, workers and Airflow: nothing else may silence it at the same time."""
    if fault.kind in _DATABASE:
        return [AIRFLOW, *map(worker_name, range(WORKERS))]
    if fault.kind in OF_A_REPLICA:
        return [worker_name(worker) for worker in range(WORKERS) if api_of(worker) == fault.target]
    if fault.kind in _AIRFLOW:
        return [AIRFLOW]
    if fault.kind in _LOUD:
        return []
    return [worker_name(fault.target)]
