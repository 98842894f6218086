"""The rules find what they are for: each with facts in which one thing is wrong."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from edge_testing.faults.breaking import Injected
from edge_testing.faults.executions import Execution
from edge_testing.faults.facts import Facts, Try
from edge_testing.faults.plan import Kind, Work
from edge_testing.faults.rules import violations

WORK = Work(seed=1, waves=1, chains=1, chain_length=1, mapped=0, deferring=0)
TASK = "wave-0~chain_0_0~-1"
RAN = Execution(TASK, 1, "a", 10, "worker-1", began_ns=100, last_ns=200, last_event="end", lines=3)
KILLED = replace(RAN, last_event="tick")
AGAIN = replace(RAN, try_number=2, pid=11, began_ns=300, last_ns=400)
LINES = ["a 0", "a 1", "a 2"]
GOOD = Try(TASK, 1, "success", current=True, worker="worker-1", leased_at=50)
LOST = replace(GOOD, state="failed", current=False, ended_before=60)
SECOND = replace(GOOD, try_number=2, leased_at=70)
KILL = Injected(Kind.KILL_AGENT, "worker-1", began=55, ended=55)


def facts(
    tries: Sequence[Try] = (GOOD,),
    executions: Sequence[Execution] = (RAN,),
    logs: dict[str, list[str]] | None = None,
) -> Facts:
    logs = {one.try_key: LINES for one in executions} if logs is None else logs
    return Facts({"wave-0": "success"}, tries, executions, logs)


RETRIED = facts([LOST, SECOND], [KILLED, AGAIN])


def test_a_task_that_ran_once() -> None:
    assert violations(WORK, facts(), []) == []


def test_a_try_that_a_fault_may_cost() -> None:
    assert violations(WORK, RETRIED, [KILL]) == []


@pytest.mark.parametrize(
    "fault",
    [
        replace(KILL, worker="worker-2"),
        replace(KILL, began=30, ended=30),
        replace(KILL, began=70, ended=70),
        replace(KILL, kind=Kind.STOP_AGENT),
        replace(KILL, kind=Kind.KILL_TASK, task=f"{TASK}~2"),
    ],
)
def test_a_try_that_no_fault_may_cost(fault: Injected) -> None:
    [found] = violations(WORK, RETRIED, [fault])
    assert found.startswith(f"{TASK}~1 on worker-1 was lost, and no fault may cost it")


def test_the_log_of_a_lost_try_may_break_off() -> None:
    ended = facts([LOST, SECOND], [RAN, AGAIN], {RAN.try_key: LINES[:1], AGAIN.try_key: LINES})
    assert violations(WORK, ended, [KILL]) == []
    broken = facts([LOST, SECOND], [RAN, AGAIN], {RAN.try_key: LINES[1:], AGAIN.try_key: LINES})
    assert len(violations(WORK, broken, [KILL])) == 1


def test_an_outage_that_a_slow_machine_made_too_long() -> None:
    stall = Injected(Kind.DATABASE_STALL, "", began=30, ended=55)
    assert violations(WORK, RETRIED, [stall]) == []
    assert violations(WORK, RETRIED, [replace(stall, began=40)]) != []


def test_a_task_whose_process_was_killed() -> None:
    assert violations(WORK, RETRIED, [replace(KILL, kind=Kind.KILL_TASK, task=f"{TASK}~1")]) == []


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (replace(facts(), runs={"wave-0": "failed"}), "the run wave-0 is failed"),
        (facts([]), "0 tasks instead of 1"),
        (facts([replace(GOOD, state="running")]), "does not have exactly one successful try"),
        (facts(executions=[KILLED]), "has not come to its end"),
        (facts(executions=[RAN, replace(RAN, pid=11, began_ns=300)]), "ran in process 10 and again in 11"),
        (facts(executions=[RAN, replace(AGAIN, began_ns=150)]), "process 11 began while process 10 still ran"),
        (facts(logs={}), "the log of wave-0~chain_0_0~-1~1 has no lines"),
        (facts(logs={RAN.try_key: ["a 0", "a 2", "a 1"]}), "instead of 3 lines"),
        (facts(logs={RAN.try_key: [*LINES, "a 2"]}), "has 4 lines"),
        (replace(facts(), unfinished=["job 1 is running"]), "job 1 is running"),
        (replace(facts(), left_running=["orphan 5"]), "orphan 5"),
        (replace(facts(), memory_mb={"edge-api-0": (100, 190)}), "edge-api-0 has 190 MB"),
    ],
)
def test_what_must_not_be(wrong: Facts, found: str) -> None:
    assert any(found in one for one in violations(WORK, wrong, []))
