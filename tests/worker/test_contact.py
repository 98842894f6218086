"""When a task must end without contact: always before the control plane gives its job up."""

from hypothesis import given
from hypothesis import strategies as st

from edge_protocol.limits import FENCE_MARGIN_S
from edge_worker.tasks.contact import RUNNER_LATER_S, Contact, Tolerance, boot_clock, mark_of

MOMENTS = st.floats(0, 1e6)
DELAYS = st.floats(0, 1e4)


@given(
    accept_sent=MOMENTS,
    beats=st.lists(st.tuples(MOMENTS, DELAYS, st.booleans())),
    accept_delay=DELAYS,
    tolerance_s=st.integers(0, 10_000),
    grace_s=st.floats(0, 1000),
)
def test_worker_is_done_before_the_control_plane_gives_up(
    accept_sent: float, beats: list[tuple[float, float, bool]], accept_delay: float, tolerance_s: int, grace_s: float
) -> None:
    """Each heartbeat takes its time; of each that was received the acknowledgement may be lost."""
    contact = Contact()
    for sent, _, acknowledged in beats:
        if acknowledged:
            contact.acknowledged(mark_of(sent), now=1e7)
    received = [sent + delay for sent, delay, _ in beats]
    given_up = max(accept_sent + accept_delay, *received, 0) + tolerance_s
    ended = contact.deadline(Tolerance(accept_sent, tolerance_s, grace_s)) + grace_s + FENCE_MARGIN_S
    assert ended <= given_up + 1e-6


@given(late_s=DELAYS, grace_s=st.floats(0, 1000), later_s=st.sampled_from([0.0, RUNNER_LATER_S]))
def test_missed_deadline_leaves_less_grace_and_no_later_end(late_s: float, grace_s: float, later_s: float) -> None:
    contact, tolerance = Contact(), Tolerance(100, 2000, grace_s)
    due = contact.deadline(tolerance) + later_s
    found = contact.grace_s(tolerance, due + late_s, later_s)
    assert 0 <= found <= grace_s
    assert due + late_s + found <= max(due + grace_s, due + late_s) + 1e-6


def test_contact_is_the_newest_thing_that_was_stored() -> None:
    contact = Contact()
    assert not contact.welcomed(10), "no hello was sent"
    contact.saying_hello(10)
    assert contact.since(Tolerance(0, 600, 10)) == 0, "a hello alone is no contact"
    assert contact.welcomed(12)
    assert contact.at == 10
    assert not contact.acknowledged(9_999, 13), "older than what is known"
    assert not contact.acknowledged(13_001, 13), "from the future"
    assert contact.acknowledged(12_500, 13)
    assert contact.at == 12.5
    assert not contact.acknowledged(12_500, 14), "a repeat is no news"
    # A hello that nobody answered does not count.
    contact.saying_hello(20)
    assert contact.at == 12.5


def test_mark_is_never_after_its_sending() -> None:
    assert mark_of(12.3456) == 12_345
    now = boot_clock()
    assert 0 <= now - mark_of(now) / 1000 < 0.002


def test_task_counts_from_its_accept_if_that_was_later() -> None:
    contact, tolerance = Contact(), Tolerance(accepted_at=100, tolerance_s=600, kill_grace_s=10)
    assert contact.deadline(tolerance) == 100 + 600 - 10 - FENCE_MARGIN_S
    contact.renew(50, now=100)
    assert contact.since(tolerance) == 100
    contact.renew(200, now=201)
    assert contact.deadline(tolerance) == 200 + 600 - 10 - FENCE_MARGIN_S


def test_reason_says_for_how_long() -> None:
    contact, tolerance = Contact(), Tolerance(0, 600, 10)
    assert contact.reason(tolerance, 585.9).startswith("out of contact with the edge API for 9 min 45 s; the task was")
    assert " for 2 h 1 s;" in contact.reason(tolerance, 7201)
    assert " for 0 s;" in contact.reason(tolerance, 0)
