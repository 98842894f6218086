"""The effects of each frame and of each end of a task."""

from collections.abc import Iterable
from uuid import UUID, uuid4

import pytest

from edge_protocol.frames import Accept, Job, Report
from edge_protocol.limits import ERROR_TEXT_MAX
from edge_worker.tasks.leases import Effect, Kill, Lease, Leases, Phase, Release, Send, Start
from edge_worker.tasks.outcome import Outcome
from edge_worker.tasks.spool import JobInfo

DONE = Outcome("succeeded", 0)


def job(*, slots: int = 1, lease_id: UUID | None = None) -> Job:
    return Job(
        lease_id=lease_id or uuid4(),
        job_id=uuid4(),
        kind="task",
        slots=slots,
        log_path="a.log",
        workload="the workload",
    )


def running(leases: Leases) -> Lease:
    frame = job()
    leases.on_job(frame)
    (start,) = leases.on_accept_ack(frame.lease_id)
    assert isinstance(start, Start)
    return start.lease


def ended(leases: Leases) -> Lease:
    lease = running(leases)
    leases.on_ended(lease, DONE)
    return lease


def sent(effects: Iterable[Effect]) -> list[Accept | Report]:
    """Return the frames of effects that are nothing but frames to send."""
    frames: list[Accept | Report] = []
    for effect in effects:
        assert isinstance(effect, Send)
        frames.append(effect.frame)
    return frames


def test_job_is_accepted_and_started_after_the_acknowledgement() -> None:
    leases = Leases(2)
    frame = job()
    assert leases.on_job(frame) == [Send(Accept(lease_id=frame.lease_id))]
    (start,) = leases.on_accept_ack(frame.lease_id)
    assert isinstance(start, Start)
    assert start.workload == "the workload"
    assert start.lease.workload is None, "the token is not kept longer than needed"
    assert leases.on_accept_ack(frame.lease_id) == [], "a repeat starts nothing"


def test_offers_take_slots_and_too_large_ones_lapse() -> None:
    leases = Leases(4)
    leases.on_job(job(slots=3))
    assert (leases.free_slots, leases.active) == (1, 1)
    leases.on_job(job(slots=2))
    assert len(leases) == 1
    leases.on_job(job(slots=1))
    assert (leases.free_slots, leases.active) == (0, 2)


@pytest.mark.parametrize("reason", ["cordoned", "draining"])
def test_worker_that_takes_no_jobs_accepts_none_but_repeats_old_accepts(reason: str) -> None:
    leases = Leases(4)
    lease = running(leases)
    setattr(leases, reason, True)
    assert leases.on_job(job()) == []
    assert leases.on_job(job(lease_id=lease.id)) == [Send(Accept(lease_id=lease.id))]


def test_end_is_reported_until_acknowledged() -> None:
    leases = Leases(4)
    lease = running(leases)
    (report,) = sent(leases.on_ended(lease, Outcome("failed", 1, "x" * 10_000)))
    assert isinstance(report, Report)
    assert (report.outcome, report.exit_code) == ("failed", 1)
    assert len(report.error or "") == ERROR_TEXT_MAX
    assert leases.held == [lease.id]
    assert leases.free_slots == 4
    assert sent(leases.on_session()) == [report]
    assert leases.on_report_ack(lease.id) == [Release(lease)]
    assert leases.held == []
    assert leases.on_report_ack(lease.id) == []


def test_new_session_repeats_accepts_and_reports_but_nothing_of_running_tasks() -> None:
    leases = Leases(4)
    running(leases)
    done, offer = ended(leases), job()
    leases.on_job(offer)
    again = sent(leases.on_session())
    assert {(type(frame), frame.lease_id) for frame in again} == {(Report, done.id), (Accept, offer.lease_id)}
    assert len(leases.held) == 3


def test_fenced_offer_is_forgotten() -> None:
    leases = Leases(4)
    frame = job()
    leases.on_job(frame)
    assert leases.on_fenced(frame.lease_id, "late") == []
    assert leases.on_accept_ack(frame.lease_id) == []
    assert len(leases) == 0


def test_fenced_task_is_killed_and_not_reported() -> None:
    leases = Leases(4)
    lease = running(leases)
    assert leases.on_fenced(lease.id, "late") == [Kill(lease)]
    assert leases.held == []
    assert leases.on_fenced(lease.id, "late") == [], "once is enough"
    assert leases.on_ended(lease, DONE) == [Release(lease)], "no report"


def test_fenced_report_is_dropped_and_its_log_still_sent() -> None:
    leases = Leases(4)
    lease = ended(leases)
    assert leases.on_fenced(lease.id, "late") == [Release(lease)]
    assert leases.on_session() == []


def test_cancelled_offer_is_reported_and_never_started() -> None:
    leases = Leases(4)
    frame = job()
    leases.on_job(frame)
    (report,) = sent(leases.on_cancel(frame.lease_id, "marked failed"))
    assert isinstance(report, Report)
    assert report.error == "cancelled before it started: marked failed"
    assert leases.on_accept_ack(frame.lease_id) == []


def test_cancelled_task_is_killed_once() -> None:
    leases = Leases(4)
    lease = running(leases)
    assert leases.on_cancel(lease.id, "marked failed") == [Kill(lease)]
    assert lease.kill_reason == "cancelled: marked failed"
    assert leases.on_cancel(lease.id, "again") == []


def test_frames_about_unknown_leases_do_nothing() -> None:
    leases, unknown = Leases(4), uuid4()
    assert leases.on_accept_ack(unknown) == []
    assert leases.on_report_ack(unknown) == []
    assert leases.on_log_ack(unknown) == []
    assert leases.on_fenced(unknown, "x") == []
    assert leases.on_cancel(unknown, "x") == []


def test_restored_lease_is_held_and_reported() -> None:
    leases = Leases(4)
    info = JobInfo(uuid4(), uuid4(), "callback", 1, None)
    leases.restore(info, Outcome("failed", error="stopped"))
    assert leases.held == [info.lease_id]
    assert [lease.id for lease in leases.in_phase(Phase.ENDED)] == [info.lease_id]
    (report,) = sent(leases.on_session())
    assert isinstance(report, Report)
    assert report.error == "stopped"


@pytest.mark.parametrize("concurrency", [1, 4])
def test_slots_never_count_below_zero(concurrency: int) -> None:
    leases = Leases(4)
    for _ in range(4):
        leases.on_job(job())
    leases.concurrency = concurrency
    assert leases.free_slots == 0
