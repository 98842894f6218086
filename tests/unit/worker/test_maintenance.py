"""A worker's own maintenance requests beside the desired maintenance."""

from edge_protocol.frames import BY_HEALTH, BY_HOST, DesiredFrame
from edge_worker.maintenance.maintenance import MaintenanceState


def desired(*, on: bool = False, comment: str | None = None, by: str | None = None, version: int = 1) -> DesiredFrame:
    return DesiredFrame(
        version=version,
        maintenance=on,
        maintenance_comment=comment,
        maintenance_by=by,
        queues=["default"],
        concurrency=1,
    )


def confirm(own: MaintenanceState, frame: DesiredFrame) -> None:
    """The edge API has stored the request."""
    own.desired = frame
    assert own.pending is not None
    assert own.on_confirmed(own.pending.id) is not None


def test_request_to_enter_counts_before_it_is_stored() -> None:
    own = MaintenanceState()
    own.desired = desired()
    own.request(on=True, comment="disk")
    assert (own.cordoned, own.acknowledged) == (True, False)
    assert (own.on, own.comment, own.by) == (True, "disk", BY_HOST)
    confirm(own, desired(on=True, comment="disk", by=BY_HOST))
    assert (own.cordoned, own.acknowledged) == (True, True)
    assert own.host_request is None


def test_request_to_leave_brings_no_jobs_before_it_is_stored() -> None:
    own = MaintenanceState()
    own.desired = desired(on=True, comment="disk", by="anna")
    own.request(on=False, comment=None)
    assert own.cordoned
    assert (own.on, own.by) == (False, None)
    confirm(own, desired())
    assert not own.cordoned


def test_latest_request_of_the_host_counts() -> None:
    own = MaintenanceState()
    own.request(on=True, comment="disk")
    first = own.pending
    own.request(on=False, comment=None)
    assert first is not None
    assert own.on_confirmed(first.id) is None
    assert not own.on
    assert [request.on for request in own.unconfirmed] == [False]


def test_unconfirmed_request_is_sent_in_each_session() -> None:
    own = MaintenanceState()
    assert own.request(on=True, comment="disk") == own.pending
    assert own.unconfirmed == [own.pending]


def test_health_check_enters_changes_its_reason_and_leaves() -> None:
    own = MaintenanceState()
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


def test_host_is_healthy_again_before_the_request_of_its_health_check_is_stored() -> None:
    own = MaintenanceState()
    own.on_health("hot")
    assert own.on_health(None)
    assert not own.cordoned
    assert [(request.on, request.source) for request in own.unconfirmed] == [(False, "health")]


def test_health_check_leaves_the_maintenance_of_others_alone() -> None:
    own = MaintenanceState()
    own.desired = desired(on=True, comment="disk", by="anna")
    assert not own.on_health("hot")
    assert not own.on_health(None)
    assert own.pending is None
    own.request(on=True, comment="disks")
    assert not own.on_health("hot")
    assert not own.on_health(None)


def test_health_check_requests_maintenance_again_when_a_human_has_ended_it_too_early() -> None:
    own = MaintenanceState()
    own.desired = desired(on=True, comment="disk", by="anna")
    own.on_health("hot")
    own.desired = desired(version=2)
    assert own.on_health("hot")


def test_health_reason_is_cut_to_the_length_of_a_comment() -> None:
    own = MaintenanceState()
    own.on_health("x" * 5000)
    assert own.comment == "x" * 1024
    assert not own.on_health("x" * 5000)
