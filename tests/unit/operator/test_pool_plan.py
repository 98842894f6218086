"""The plan of a pool: it gets where it should, and never takes more away than it may."""

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
        name=name, deleting=False, available=True, fresh=True, stale=False, failing=False, slots_used=0, slots_total=1
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


MEMBERS = st.lists(
    st.builds(
        lambda deleting, available, fresh, stale, used: member(
            "",
            deleting=deleting,
            available=available and not deleting,
            fresh=fresh,
            stale=stale and not fresh,
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
    members: list[Member], wanted: int, unavailable: int, surge: int
) -> None:
    steps = plan("pool", wanted, members, Rollout(max_unavailable=unavailable, max_surge=surge))
    taken = {one.name for one in members}
    active = {one.name: one for one in members if not one.deleting}
    assert not set(steps.create) & taken
    assert not set(steps.delete) & set(steps.update)
    assert len(set(steps.delete)) == len(steps.delete)
    assert set(steps.delete) | set(steps.update) <= set(active)
    assert len(active) + len(steps.create) <= max(len(active), wanted + surge)
    out = {*steps.delete, *steps.update}
    out = {name for name in out if active[name].available and (active[name].stale or name in steps.delete)}
    floor = wanted - max(unavailable, 0 if surge or unavailable else 1)
    available = sum(one.available for one in active.values())
    # A roll-out takes nobody out of service below the floor; only a scale-down to `wanted` may.
    assert available - len(out) >= min(floor, available) or len(active) - len(out) >= wanted


@given(MEMBERS)
def test_a_change_without_restart_goes_to_all_at_once(members: list[Member]) -> None:
    live = [one for one in members if not one.deleting]
    steps = plan("pool", len(live), members, Rollout())
    assert {one.name for one in live if not one.fresh and not one.stale} <= set(steps.update)


def test_idlest_goes_first_and_the_broken_before_the_good() -> None:
    members = [
        member("pool-0", slots_used=1),
        member("pool-1"),
        member("pool-2", available=False),
        member("pool-3", slots_used=1),
    ]
    assert plan("pool", 3, members, Rollout()).delete == ["pool-2"]
    assert plan("pool", 2, members, Rollout()).delete == ["pool-2", "pool-1"]


def test_numbers_of_workers_that_are_going_are_not_given_again() -> None:
    members = [member("pool-0"), member("pool-1", deleting=True)]
    assert plan("pool", 3, members, Rollout()).create == ["pool-2", "pool-3"]


def test_nothing_to_do_for_a_pool_that_is_as_wanted() -> None:
    assert plan("pool", 2, [member("pool-0"), member("pool-1")], Rollout()).empty


@pytest.mark.parametrize(
    ("reason", "comment", "failing"),
    [
        ("PodFailing", None, True),
        ("ShutDown", None, True),
        ("Cordoned", "fan", True),
        # Drains, and comes back by itself.
        ("Cordoned", None, False),
        ("PodPending", None, False),
    ],
)
def test_workers_that_will_not_take_jobs_by_waiting_are_made_up_for(
    reason: str, comment: str | None, failing: bool
) -> None:
    worker = make_worker("pool-0", status={"conditions": [{"type": "Ready", "status": "False", "reason": reason}]})
    seen = read_member(worker, make_view("pool-0", comment=comment), {}, PodDefaults("image:1", "http://api", 45))
    assert seen.failing == failing
