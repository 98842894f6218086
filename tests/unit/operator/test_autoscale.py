"""The number of workers for a given amount of work."""

from hypothesis import given
from hypothesis import strategies as st

from edge_operator.api.types import Autoscaling
from edge_operator.desired.autoscale import Load, Stabiliser, recommendation


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 32), st.integers(1, 100), st.integers(0, 20))
def test_recommendation_has_room_and_stays_within_bounds(
    queued: int, running: int, slots: int, target: int, lowest: int
) -> None:
    scaling = Autoscaling(min_replicas=lowest, max_replicas=20, target_slot_utilization=target)
    count = recommendation(Load(queued, running, slots), scaling)
    assert lowest <= count <= 20
    if lowest < count < 20:
        assert (queued + running) * 100 <= count * slots * target
        assert (queued + running) * 100 > (count - 1) * slots * target


def test_a_dip_scales_down_only_after_its_window() -> None:
    scaling = Autoscaling(max_replicas=10, scale_down_stabilization_seconds=300)
    stable = Stabiliser()
    assert stable.decide(2, 5, scaling, now=0) == 5
    assert stable.decide(2, 5, scaling, now=299) == 5
    assert stable.decide(2, 5, scaling, now=301) == 2


def test_a_rise_scales_up_at_once_or_after_its_window() -> None:
    assert Stabiliser().decide(7, 5, Autoscaling(max_replicas=10), now=0) == 7
    slow = Autoscaling(max_replicas=10, scale_up_stabilization_seconds=60)
    stable = Stabiliser()
    assert stable.decide(5, 5, slow, now=0) == 5
    assert stable.decide(7, 5, slow, now=30) == 5
    assert stable.decide(8, 5, slow, now=61) == 7
