"""The plan of a seed: always the same, varied, and within the bounds that make its outcome certain."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from edge_testing.faults.plan import (
    OUTAGE_MAX_S,
    RECOVERY_S,
    WORKERS,
    Kind,
    Plan,
    full_plan,
    short_plan,
    silenced_by,
    worker_name,
)

SEEDS = range(1, 21)


@pytest.mark.parametrize("make", [full_plan, short_plan])
def test_a_seed_has_one_plan(make: Callable[[int], Plan]) -> None:
    assert make(7) == make(7)
    assert make(7) != make(8)


def test_the_campaign_has_200_tasks_and_1000_faults() -> None:
    plans = [full_plan(seed) for seed in SEEDS]
    assert {plan.work.tasks for plan in plans} == {200}
    assert sum(len(plan.faults) for plan in plans) == 1000


def test_every_kind_of_fault_occurs() -> None:
    assert {fault.kind for seed in SEEDS for fault in full_plan(seed).faults} == set(Kind)


@pytest.mark.parametrize("seed", SEEDS)
def test_outages_of_one_part_do_not_add_up(seed: int) -> None:
    faults = full_plan(seed).faults
    for part in ("airflow", *map(worker_name, range(WORKERS))):
        for before, after in pairwise(fault for fault in faults if part in silenced_by(fault)):
            assert before.duration_s <= OUTAGE_MAX_S
            assert before.at_s + before.duration_s + RECOVERY_S <= after.at_s
