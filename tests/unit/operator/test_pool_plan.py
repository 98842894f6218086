"""The plan of a pool: it reaches the desired number and keeps the limits of the rollout."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_operator.api.types import Rollout
from edge_operator.desired.pool import Member, plan, read_member
from edge_operator.desired.workload import PodDefaults
from edge_testing.operator.builders import make_view, make_worker


def member(name: str, **changes: object) -> Member:
    whole = Member(
        name=name,
        deleting=False,
        available=True,
        up_to_date=True,
        needs_new_pod=False,
        failing=False,
        slots_used=0,
        slots_total=1,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


MEMBERS = st.lists(
    st.builds(
        lambda deleting, available, up_to_date, needs_new_pod, used: member(
            "",
            deleting=deleting,
            available=available and not deleting,
            up_to_date=up_to_date,
            needs_new_pod=needs_new_pod and not up_to_date,
            slots_used=used,
        ),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.integers(0, 3),
    ),
    max_size=8,
).map(lambda members: [replace(one, name=f"pool-{number}") for number, one in enumerate(members)])


@given(MEMBERS, st.integers(0, 8), st.integers(0, 3), st.integers(0, 3))
def test_plan_is_consistent_and_keeps_its_limits(
    members: list[Member], desired: int, unavailable: int, surge: int
) -> None:
    steps = plan("pool", desired, members, Rollout(max_unavailable=unavailable, max_surge=surge))
    taken = {one.name for one in members}
    active = {one.name: one for one in members if not one.deleting}
    assert not set(steps.create) & taken
    assert not set(steps.delete) & set(steps.update)
    assert len(set(steps.delete)) == len(steps.delete)
    assert set(steps.delete) | set(steps.update) <= set(active)
    assert len(active) + len(steps.create) <= max(len(active), desired + surge)
    out = {*steps.delete, *steps.update}
    out = {name for name in out if active[name].available and (active[name].needs_new_pod or name in steps.delete)}
    floor = desired - max(unavailable, 0 if surge or unavailable else 1)
    available = sum(one.available for one in active.values())
    # A rollout takes no worker out of service below the floor; only scaling down to `desired` may.
    assert available - len(out) >= min(floor, available) or len(active) - len(out) >= desired


@given(MEMBERS)
def test_a_change_without_restart_goes_to_all_at_once(members: list[Member]) -> None:
    live = [one for one in members if not one.deleting]
    steps = plan("pool", len(live), members, Rollout())
    assert {one.name for one in live if not one.up_to_date and not one.needs_new_pod} <= set(steps.update)


def test_failing_workers_are_removed_first_then_the_idlest() -> None:
    members = [
        member("pool-0", slots_used=1),
        member("pool-1"),
        member("pool-2", available=False),
        member("pool-3", slots_used=1),
    ]
    assert plan("pool", 3, members, Rollout()).delete == ["pool-2"]
    assert plan("pool", 2, members, Rollout()).delete == ["pool-2", "pool-1"]


def test_numbers_of_workers_that_are_being_deleted_are_not_reused() -> None:
    members = [member("pool-0"), member("pool-1", deleting=True)]
    assert plan("pool", 3, members, Rollout()).create == ["pool-2", "pool-3"]


def test_nothing_to_do_for_a_pool_in_its_desired_state() -> None:
    assert plan("pool", 2, [member("pool-0"), member("pool-1")], Rollout()).empty


@pytest.mark.parametrize(
    ("reason", "comment", "failing"),
    [
        ("PodFailing", None, True),
        ("ShutDown", None, True),
        ("Cordoned", "fan", True),
        # It drains, and returns by itself.
        ("Cordoned", None, False),
        ("PodPending", None, False),
    ],
)
def test_workers_that_will_not_take_jobs_count_as_failing(reason: str, comment: str | None, failing: bool) -> None:
    worker = make_worker("pool-0", status={"conditions": [{"type": "Ready", "status": "False", "reason": reason}]})
    seen = read_member(worker, make_view("pool-0", comment=comment), {}, PodDefaults("image:1", "http://api", 45))
    assert seen.failing == failing
