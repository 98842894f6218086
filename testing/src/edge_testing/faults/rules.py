"""What holds after any faults: pure functions of the facts. Each returns violations, as sentences."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from edge_testing.faults.breaking import Injected
from edge_testing.faults.executions import Execution
from edge_testing.faults.facts import Facts, Try
from edge_testing.faults.plan import MAY_COST_A_TRY, OF_A_REPLICA, OUTAGE_MAX_S, TOLERATED_REPLICA_S, Work

MEMORY_FACTOR = 1.5
MEMORY_MARGIN_MB = 30.0
"""An edge API may have this much more memory than before the first task: Python keeps some of what it has used."""
TOLERATED_S = OUTAGE_MAX_S + 2.0
"""An outage that a slow machine made longer may cost tries: a worker counts as lost after 30 s."""
CLOCK_MARGIN_S = 2.0
"""The campaign notes a fault shortly before or after PostgreSQL notes its effect."""


def violations(work: Work, facts: Facts, injected: Sequence[Injected]) -> list[str]:
    """Return everything that does not hold."""
    return [
        *_every_run_succeeds(facts),
        *_one_try_counts(work, facts),
        *_every_lost_try_has_a_cause(facts.tries, injected),
        *_no_overlap(facts.executions),
        *_nothing_runs_twice(facts.executions),
        *_logs_are_whole(facts),
        *facts.unfinished,
        *facts.left_running,
        *_memory_is_back(facts),
    ]


def _every_run_succeeds(facts: Facts) -> Iterator[str]:
    for run, state in facts.runs.items():
        if state != "success":
            yield f"the run {run} is {state}"


def _one_try_counts(work: Work, facts: Facts) -> Iterator[str]:
    """Exactly one try of each task is a success, the last one; and that one has come to its end."""
    tries = _by_task(facts.tries)
    if len(tries) != work.tasks:
        yield f"{len(tries)} tasks instead of {work.tasks}"
    ended = {one.try_key for one in facts.executions if one.last_event == "end"}
    for task, of_task in tries.items():
        succeeded = [one for one in of_task if one.state == "success"]
        if len(succeeded) != 1 or not succeeded[0].current:
            states = {one.try_number: one.state for one in of_task}
            yield f"{task} does not have exactly one successful try: {states}"
        elif succeeded[0].key not in ended:
            yield f"{succeeded[0].key} counts as a success and has not come to its end"


def _every_lost_try_has_a_cause(tries: Sequence[Try], injected: Sequence[Injected]) -> Iterator[str]:
    for one in tries:
        if not one.current and not any(_explains(fault, one) for fault in injected):
            yield f"{one.key} on {one.worker or 'no worker'} was lost, and no fault may cost it"


def _explains(fault: Injected, lost: Try) -> bool:
    if fault.task:
        return fault.task == lost.key
    too_long = fault.ended - fault.began > (TOLERATED_REPLICA_S if fault.kind in OF_A_REPLICA else TOLERATED_S)
    if not too_long and (fault.kind not in MAY_COST_A_TRY or fault.worker != lost.worker):
        return False
    return fault.began <= lost.ended_before + CLOCK_MARGIN_S and fault.ended >= lost.leased_at - CLOCK_MARGIN_S


def _no_overlap(executions: Sequence[Execution]) -> Iterator[str]:
    of_task = defaultdict(list)
    for one in executions:
        of_task[one.task].append(one)
    for task, several in of_task.items():
        for before, after in pairwise(several):
            if after.began_ns < before.last_ns:
                yield f"{task}: process {after.pid} began while process {before.pid} still ran"


def _nothing_runs_twice(executions: Sequence[Execution]) -> Iterator[str]:
    seen: dict[tuple[str, str], Execution] = {}
    for one in executions:
        before = seen.setdefault((one.try_key, one.section), one)
        if before is not one:
            yield f"section {one.section} of {one.try_key} ran in process {before.pid} and again in {one.pid}"


def _logs_are_whole(facts: Facts) -> Iterator[str]:
    """Expect all lines of what has ended, and an unbroken beginning of a try that was lost.

    A task may come to its end while its supervisor waits for the Execution API and has not taken its lines: they are
    lost if both are killed.
    """
    expected: dict[str, list[str]] = defaultdict(list)
    cut_off = {one.key for one in facts.tries if not one.current}
    for one in facts.executions:
        expected[one.try_key] += [f"{one.section} {line}" for line in range(one.lines)]
    for key, lines in expected.items():
        found = facts.logs.get(key, [])
        # The last line may have been printed and not yet noted.
        if key in cut_off and found[: len(lines)] == lines[: len(found)] and len(found) <= len(lines) + 1:
            continue
        if found != lines:
            yield f"the log of {key} has {_ranges(found)} instead of {_ranges(lines)}"


def _memory_is_back(facts: Facts) -> Iterator[str]:
    for name, (before, after) in facts.memory_mb.items():
        if after > before * MEMORY_FACTOR + MEMORY_MARGIN_MB:
            yield f"{name} has {after:.0f} MB of memory, before the first task {before:.0f} MB"


def _by_task(tries: Sequence[Try]) -> dict[str, list[Try]]:
    found = defaultdict(list)
    for one in tries:
        found[one.task].append(one)
    return found


def _ranges(lines: Sequence[str]) -> str:
    return f"{len(lines)} lines ({', '.join(lines[:3])} .. {', '.join(lines[-3:])})" if lines else "no lines"
