"""What a worker wishes about its maintenance, against what is desired of it."""

from edge_protocol.frames import BY_HEALTH, BY_HOST, DesiredFrame
from edge_worker.maintenance.maintenance import OwnMaintenance


def desired(*, on: bool = False, comment: str | None = None, by: str | None = None, version: int = 1) -> DesiredFrame:
    return DesiredFrame(
        version=version,
        maintenance=on,
        maintenance_comment=comment,
        maintenance_by=by,
        queues=["default"],
        concurrency=1,
    )


def confirm(own: OwnMaintenance, frame: DesiredFrame) -> None:
    """The edge API has stored the wish."""
    own.desired = frame
    assert own.wish is not None
    own.on_confirmed(own.wish)


def test_wish_to_enter_counts_before_it_is_stored() -> None:
    own = OwnMaintenance()
    own.desired = desired()
    own.ask(on=True, comment="disk")
    assert (own.cordoned, own.acknowledged) == (True, False)
    assert (own.on, own.comment, own.by) == (True, "disk", BY_HOST)
    confirm(own, desired(on=True, comment="disk", by=BY_HOST))
    assert (own.cordoned, own.acknowledged) == (True, True)
    assert own.host_wish is None


def test_wish_to_leave_gives_no_jobs_before_it_is_stored() -> None:
    own = OwnMaintenance()
    own.desired = desired(on=True, comment="disk", by="anna")
    own.ask(on=False, comment=None)
    assert own.cordoned
    assert (own.on, own.by) == (False, None)
    confirm(own, desired())
    assert not own.cordoned


def test_last_word_of_the_host_counts() -> None:
    own = OwnMaintenance()
    own.ask(on=True, comment="disk")
    first = own.wish
    own.ask(on=False, comment=None)
    assert first is not None
    assert own.find(first.id) is None
    assert not own.on
    own.on_session()
    assert [wish.on for wish in own.outbox] == [False]


def test_unconfirmed_wish_is_said_again_in_each_session() -> None:
    own = OwnMaintenance()
    own.ask(on=True, comment="disk")
    own.outbox.clear()
    own.on_session()
    assert own.outbox == [own.wish]


def test_health_check_enters_changes_its_reason_and_leaves() -> None:
    own = OwnMaintenance()
    own.desired = desired()
    assert not own.on_health(None)
    assert own.on_health("hot")
    assert own.cordoned
    assert not own.on_health("hot")
    confirm(own, desired(on=True, comment="hot", by=BY_HEALTH))
    assert not own.on_health("hot")
    assert own.on_health("hotter")
    confirm(own, desired(on=True, comment="hotter", by=BY_HEALTH))
    assert own.on_health(None)
    assert own.cordoned
    confirm(own, desired())
    assert not own.cordoned


def test_health_check_gets_well_before_its_wish_is_stored() -> None:
    own = OwnMaintenance()
    own.on_health("hot")
    assert own.on_health(None)
    assert not own.cordoned
    own.on_session()
    assert [(wish.on, wish.source) for wish in own.outbox] == [(False, "health")]


def test_health_check_leaves_the_maintenance_of_others_alone() -> None:
    own = OwnMaintenance()
    own.desired = desired(on=True, comment="disk", by="anna")
    assert not own.on_health("hot")
    assert not own.on_health(None)
    assert own.wish is None
    own.ask(on=True, comment="disks")
    assert not own.on_health("hot")
    assert not own.on_health(None)


def test_health_check_speaks_up_when_a_human_has_left_too_early() -> None:
    own = OwnMaintenance()
    own.desired = desired(on=True, comment="disk", by="anna")
    own.on_health("hot")
    own.desired = desired(version=2)
    assert own.on_health("hot")


def test_health_reason_is_cut_to_what_a_comment_may_be() -> None:
    own = OwnMaintenance()
    own.on_health("x" * 5000)
    assert own.comment == "x" * 1024
    assert not own.on_health("x" * 5000)
