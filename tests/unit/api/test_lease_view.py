"""The server's count of free slots, and how it finds out that a worker's leases differ."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_api.sessions.lease_view import REMEMBER_S, LeaseView, Phase
from edge_api.upkeep.grace import Grace

LEASES = [uuid4() for _ in range(6)]
A, B = LEASES[:2]


def view() -> LeaseView:
    return LeaseView(concurrency=4, accept_timeout_s=10)


class FreeSlots(RuleBasedStateMachine):
    """Whatever happens, free slots are those that no known lease takes."""

    def __init__(self) -> None:
        super().__init__()
        self.view = view()
        self.model: dict[UUID, int] = {}
        self.now = 0.0

    @rule(lease=st.sampled_from(LEASES), slots=st.integers(1, 3), phase=st.sampled_from(Phase))
    def add(self, lease: UUID, slots: int, phase: Phase) -> None:
        self.view.add(lease, slots, phase, self.now)
        self.model.setdefault(lease, slots)

    @rule(lease=st.sampled_from(LEASES))
    def drop(self, lease: UUID) -> None:
        assert self.view.drop(lease, self.now) == (self.model.pop(lease, None) is not None)

    @rule(lease=st.sampled_from(LEASES))
    def change(self, lease: UUID) -> None:
        self.view.accepted(lease)
        self.view.cancel(lease, self.now)

    @rule(held=st.sets(st.sampled_from(LEASES)), passed=st.floats(0, 30))
    def heartbeat(self, held: set[UUID], passed: float) -> None:
        self.now += passed
        found = self.view.compare(held, self.now)
        assert not set(found.gone) & held
        assert not set(found.unknown) & set(self.view.ids())
        self.model = {lease: slots for lease, slots in self.model.items() if self.view.get(lease)}

    @invariant()
    def slots_agree(self) -> None:
        assert self.view.free == max(0, 4 - sum(self.model.values()))
        assert set(self.view.ids()) == set(self.model)


TestFreeSlots = FreeSlots.TestCase


def test_a_running_lease_is_gone_after_two_heartbeats_in_a_row() -> None:
    leases = view()
    leases.add(A, 1, Phase.RUNNING, 0)
    assert leases.compare([], 1).gone == []
    assert leases.compare([A], 2).gone == []
    assert leases.compare([], 3).gone == []
    assert leases.compare([], 4).gone == [A]


def test_a_lease_that_is_being_reported_is_left_alone() -> None:
    leases = view()
    leases.add(A, 1, Phase.RUNNING, 0)
    leases.reporting(A, begun=True)
    for now in range(5):
        assert leases.compare([], now).gone == []


def test_an_offer_is_overdue_after_the_accept_timeout() -> None:
    leases = view()
    leases.add(A, 1, Phase.OFFERED, 0)
    assert leases.compare([], 10).overdue == []
    assert leases.compare([], 10.1).overdue == [A]
    assert leases.compare([A], 10.2).overdue == []


def test_a_cancelled_lease_keeps_its_slots_until_it_is_left_out() -> None:
    leases = view()
    leases.add(A, 3, Phase.RUNNING, 0)
    leases.cancel(A, 1)
    assert (leases.compare([A], 2).gone, leases.free) == ([], 1)
    leases.compare([], 3)
    leases.compare([], 4)
    assert leases.free == 4


def test_a_settled_lease_is_not_unknown_at_once() -> None:
    leases = view()
    leases.add(A, 1, Phase.RUNNING, 0)
    leases.drop(A, 5)
    assert leases.released_after(A, 5)
    assert not leases.released_after(A, 6)
    assert leases.compare([A, B], 6).unknown == [B]
    assert leases.compare([A], 6 + REMEMBER_S).unknown == [A]


def test_lower_concurrency_leaves_no_negative_room() -> None:
    leases = view()
    leases.add(A, 3, Phase.RUNNING, 0)
    leases.concurrency = 2
    assert leases.free == 0


def test_nothing_is_believed_for_a_window_after_the_start() -> None:
    grace = Grace(window_s=30, max_gap_s=5)
    assert [grace.trusts_expiry(now) for now in (100, 104, 109, 114, 119, 124, 129)] == [False] * 7
    assert grace.trusts_expiry(130)


def test_an_outage_and_a_pause_begin_the_window_anew() -> None:
    grace = Grace(window_s=3, max_gap_s=5)
    assert not grace.trusts_expiry(0)
    assert grace.trusts_expiry(4)
    grace.interrupted(4)
    assert not grace.trusts_expiry(6)
    assert grace.trusts_expiry(7)
    assert not grace.trusts_expiry(20)
    assert grace.trusts_expiry(23)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_an_interruption_of_the_past_never_shortens_the_wait(times: list[float]) -> None:
    grace = Grace(window_s=10, max_gap_s=1000)
    grace.trusts_expiry(0)
    for time in times:
        grace.interrupted(time)
    assert not grace.trusts_expiry(max(times) + 9.9)
    assert grace.trusts_expiry(max(times) + 10)
