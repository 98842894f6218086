"""The agent ends tasks that are out of contact for too long, by a clock that tests set."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from edge_protocol.frames import Accept, Ack, Fenced, Heartbeat, HeartbeatAck, Hello, Job, Report, Welcome
from edge_protocol.limits import FENCE_MARGIN_S
from edge_testing.waiting import until
from edge_testing.workers.processes import alive, children, started, wait_for_file
from edge_worker.connection.session import _refusal
from edge_worker.errors import WorkerRefusedError
from edge_worker.settings import WorkerSettings, load_settings
from edge_worker.tasks import fencing
from edge_worker.tasks.contact import RUNNER_LATER_S, Contact
from edge_worker.tasks.fencing import Fencing
from edge_worker.tasks.leases import Lease, Leases, Phase
from edge_worker.tasks.outcome import TaskExit
from edge_worker.tasks.runners import StartOrder, runner_environ
from edge_worker.tasks.spool import Spool
from edge_worker.tasks.work import Work

T = 600
GRACE = 10


class Runners:
    """Remembers what runner processes would be ordered to do."""

    def __init__(self, contact: Contact) -> None:
        self.contact = contact
        self.started: list[StartOrder] = []
        self.killed: dict[UUID, float] = {}
        self.directly: list[tuple[UUID, bool]] = []
        self.renewals: list[float | None] = []
        self.on_exit: Any = None

    def listen(self, listener: Any) -> None:
        self.on_exit = listener

    async def start(self, order: StartOrder) -> None:
        self.started.append(order)

    def kill(self, lease_id: UUID, grace_s: float) -> None:
        self.killed[lease_id] = grace_s

    async def end_directly(self, lease_id: UUID, *, supervisor: bool) -> None:
        self.directly.append((lease_id, supervisor))

    def renew_contact(self) -> None:
        self.renewals.append(self.contact.at)

    def learn(self, _modules: set[str]) -> None:
        pass


class Line:
    """Takes the place of connection and relay."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.beats = 0
        self.ended: list[UUID] = []

    def send(self, frame: Any) -> None:
        self.sent.append(frame)

    def beat_now(self) -> None:
        self.beats += 1

    def wake(self) -> None:
        pass

    def line_is_back(self) -> None:
        pass

    def hold_no_more(self, lease: UUID) -> None:
        self.ended.append(lease)

    def close(self, _lease: UUID) -> None:
        pass


class Site:
    """One worker without processes and without a line, whose clock a test sets."""

    def __init__(self, folder: Path, group: asyncio.TaskGroup) -> None:
        self.now = 1000.0
        self.line = Line()
        self.leases = Leases(8)
        contact = Contact()
        self.runners = Runners(contact)
        settings = WorkerSettings(name="w1", kill_grace_s=GRACE)
        line: Any = self.line
        runners: Any = self.runners
        self.work = Work(
            settings, Spool(folder), self.leases, runners, line, line, contact, group, clock=lambda: self.now
        )
        self.fencing = Fencing(contact, self.leases, runners, self.work, clock=lambda: self.now)

    def frame(self, frame: Any) -> None:
        for part in (self.fencing, self.work):
            part.on_frame(frame)

    def connect(self, *, after_s: float = 0) -> None:
        self.fencing.saying_hello()
        self.now += after_s
        welcome = Welcome(
            protocol=2, session_id=uuid4(), heartbeat_interval_s=10, log_chunk_bytes=1, log_window_bytes=1
        )
        self.fencing.on_welcome(welcome)

    async def run(self, tolerance_s: int = T) -> Lease:
        job = Job(
            lease_id=uuid4(),
            job_id=uuid4(),
            kind="task",
            slots=1,
            log_path=None,
            workload="x",
            outage_tolerance_s=tolerance_s,
        )
        self.frame(job)
        self.frame(Ack(of="accept", lease_id=job.lease_id))
        await until(lambda: any(order.lease_id == job.lease_id for order in self.runners.started), "start")
        found = self.leases.get(job.lease_id)
        assert found is not None
        return found


@pytest.fixture
async def site(tmp_path: Path) -> Any:
    async with asyncio.TaskGroup() as group:
        yield Site(tmp_path, group)


async def test_task_ends_at_the_deadline_and_not_before(site: Site) -> None:
    site.connect()
    lease = await site.run()
    site.now += T - GRACE - FENCE_MARGIN_S - 0.1
    await site.fencing.look()
    assert site.runners.killed == {}
    site.now += 0.1
    await site.fencing.look()
    assert site.runners.killed == {lease.id: GRACE}
    assert site.line.ended == [lease.id], "held calls are answered"
    assert lease.kill_reason is not None
    assert "out of contact with the edge API for 9 min 45 s;" in lease.kill_reason


async def test_task_without_tolerance_goes_on(site: Site) -> None:
    site.connect()
    lease = await site.run(tolerance_s=0)
    assert site.line.beats == 0
    site.now += 10 * T
    await site.fencing.look()
    assert (lease.tolerance, site.runners.killed) == (None, {})


async def test_acknowledged_heartbeat_moves_the_deadline(site: Site) -> None:
    site.connect()
    lease = await site.run()
    site.now += 500
    mark = site.fencing.mark()
    assert mark == 1_500_000
    site.now += 20
    site.frame(HeartbeatAck(mark=mark))
    assert site.runners.renewals == [1000.0, 1500.0], "runners know, too"
    site.now = 1500 + T - GRACE - FENCE_MARGIN_S - 1
    await site.fencing.look()
    assert site.runners.killed == {}
    site.now += 1
    await site.fencing.look()
    assert list(site.runners.killed) == [lease.id]


@pytest.mark.parametrize("mark", [9_000_000, 999_000])
async def test_wrong_marks_change_nothing(site: Site, mark: int) -> None:
    site.connect()
    await site.run()
    site.frame(HeartbeatAck(mark=mark))
    assert site.runners.renewals == [1000.0]


async def test_hello_counts_from_its_sending_once_it_is_welcome(site: Site) -> None:
    lease = await site.run()
    site.now += 500
    site.connect(after_s=50)
    assert site.runners.renewals == [1500.0]
    site.now = 1500 + T - GRACE - FENCE_MARGIN_S
    await site.fencing.look()
    assert list(site.runners.killed) == [lease.id]


async def test_suspended_host_ends_overdue_tasks_at_the_next_look_without_delay(site: Site) -> None:
    site.connect()
    lease = await site.run()
    site.now += 3 * 3600
    await site.fencing.look()
    assert site.runners.killed == {lease.id: 0}, "its job may run elsewhere already"


async def test_late_look_takes_from_the_grace_period(site: Site) -> None:
    site.connect()
    lease = await site.run()
    site.now += T - GRACE - FENCE_MARGIN_S + 4
    await site.fencing.look()
    assert site.runners.killed == {lease.id: GRACE - 4}


async def test_accept_counts_for_a_lease_that_is_newer_than_the_contact(site: Site) -> None:
    site.connect()
    old = await site.run()
    site.now += 300
    new = await site.run()
    site.now = 1000 + T - GRACE - FENCE_MARGIN_S
    await site.fencing.look()
    assert list(site.runners.killed) == [old.id]
    site.now += 300
    await site.fencing.look()
    assert list(site.runners.killed) == [old.id, new.id]


async def test_first_accept_is_followed_by_a_heartbeat_with_a_mark(site: Site) -> None:
    assert site.fencing.mark() is None
    lease = await site.run()
    assert (site.line.beats, site.fencing.mark()) == (1, 1_000_000)
    site.now += 5
    job = Job(
        lease_id=lease.id, job_id=uuid4(), kind="task", slots=1, log_path=None, workload="x", outage_tolerance_s=T
    )
    site.frame(job)
    assert [type(frame) for frame in site.line.sent] == [Accept, Accept]
    assert lease.tolerance is not None
    assert (lease.tolerance.accepted_at, site.line.beats) == (1000, 1), "a repeat is not the first"


async def test_order_has_what_the_runner_counts_from(site: Site) -> None:
    lease = await site.run()
    assert site.runners.started[0].tolerance == lease.tolerance


async def test_ended_task_is_left_alone_and_reported(site: Site) -> None:
    site.connect()
    lease = await site.run()
    site.now += T
    await site.fencing.look()
    site.runners.on_exit(TaskExit(lease.id, -9))
    await until(lambda: lease.phase is Phase.ENDED, "end")
    report = site.line.sent[-1]
    assert isinstance(report, Report)
    assert (report.outcome, "out of contact" in (report.error or "")) == ("failed", True)
    site.now += T
    await site.fencing.look()
    assert (len(site.runners.killed), site.runners.directly) == (1, [])


async def test_end_by_the_runner_gives_its_reason(site: Site) -> None:
    lease = await site.run()
    site.runners.on_exit(TaskExit(lease.id, -9, "out of contact, says the runner", killed=True))
    await until(lambda: lease.phase is Phase.ENDED, "end")
    assert site.line.sent[-1].error == "out of contact, says the runner"
    assert site.leases.starts.reason is None


async def test_lease_that_was_taken_back_is_not_reported(site: Site) -> None:
    site.connect()
    lease = await site.run()
    site.now += T
    await site.fencing.look()
    site.frame(Fenced(lease_id=lease.id, reason="lost"))
    site.runners.on_exit(TaskExit(lease.id, -9))
    await until(lambda: lease.phase is Phase.DECIDED, "end")
    assert not any(isinstance(frame, Report) for frame in site.line.sent)


async def test_agent_ends_what_its_runner_does_not(site: Site) -> None:
    lease = await site.run(tolerance_s=0)
    site.work.end(lease, "test")
    for after_s, expected in ((GRACE + 1.9, []), (0.1, [False]), (2.9, [False, False]), (0.1, [False, False, True])):
        site.now += after_s
        await site.fencing.look()
        assert [supervisor for _, supervisor in site.runners.directly] == expected


async def test_watch_ends_with_its_task_and_looks_only_while_tasks_run(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fencing, "LOOK_S", 0.01)
    watch = asyncio.create_task(site.fencing.watch(), name="fencing")
    site.connect()
    lease = await site.run()
    site.now += T
    await until(lambda: site.runners.killed, "the watch ends the task")
    assert list(site.runners.killed) == [lease.id]
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch


async def test_renewal_that_has_arrived_is_read_before_a_task_is_ended(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After this process could not run, the clock may be looked at before the socket is."""
    monkeypatch.setattr(fencing, "LOOK_S", 0.01)
    site.connect()
    lease = await site.run()
    looks: list[float] = []
    look = site.fencing.look

    async def noted_look() -> None:
        looks.append(site.now)
        await look()

    monkeypatch.setattr(site.fencing, "look", noted_look)
    site.now += T
    overdue = site.fencing._out_of_contact

    def arrives() -> list[Lease]:
        found = overdue()
        if not looks and found:
            asyncio.get_running_loop().call_soon(site.frame, HeartbeatAck(mark=int(site.now * 1000)))
        return found

    monkeypatch.setattr(site.fencing, "_out_of_contact", arrives)
    watch = asyncio.create_task(site.fencing.watch(), name="fencing")
    await until(lambda: looks, "a look")
    watch.cancel()
    assert (site.runners.killed, lease.kill_reason) == ({}, None)


def test_setting_is_announced_unless_tasks_call_airflow_directly() -> None:
    assert load_settings({"name": "w"}, {}).announced_tolerance_s == 600
    environ = {"EDGE_WORKER_OUTAGE_TOLERANCE_S": "3600"}
    assert load_settings({"name": "w"}, environ).announced_tolerance_s == 3600
    direct = {**environ, "EDGE_WORKER_EXECUTION_API_URL": "http://x/execution"}
    assert load_settings({"name": "w"}, direct).announced_tolerance_s == 0
    with pytest.raises(Exception, match=r"'-1'; use a whole number of seconds from 0 \(none\) to 604800 \(7 days\)"):
        load_settings({"name": "w"}, {"EDGE_WORKER_OUTAGE_TOLERANCE_S": "-1"})


def test_supervisors_wait_for_longer_than_the_tolerance() -> None:
    name = "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT"
    assert [runner_environ({}, None, tolerance)[name] for tolerance in (0, 600, 604800)] == ["30", "660", "604860"]
    assert runner_environ({name: "7"}, None, 600)[name] == "7"


def test_refused_tolerance_stops_the_worker() -> None:
    from edge_protocol.frames import Error  # noqa: PLC0415

    assert isinstance(_refusal(Error(code="bad_tolerance", message="raise it", fatal=True)), WorkerRefusedError)


# From here on with real processes and short times.


@pytest.fixture
def stopped() -> Iterator[list[int]]:
    """Processes that a test stops: they go on afterwards, so that they can end."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if alive(pid):
            os.kill(pid, signal.SIGCONT)


SHORT = {"EDGE_WORKER_KILL_GRACE_S": "0.2"}
SHORT_T = 8
IMMORTAL = "trap '' TERM; echo $$; while true; do sleep 0.1; done"


async def test_worker_announces_what_it_can_keep(api: Any, start_agent: Any) -> None:
    await start_agent(environ={"EDGE_WORKER_OUTAGE_TOLERANCE_S": "900", "EDGE_WORKER_KILL_GRACE_S": "3"})
    hello = await api.wait_for(Hello)
    assert (hello.outage_tolerance_s, hello.kill_grace_s) == (900, 3)
    beat = await api.wait_for(Heartbeat)
    assert beat.mark is None
    lease = api.offer_tolerant("sleep 1000", 900)
    await until(lambda: any(beat.mark is not None for beat in api.seen(Heartbeat)), "a mark")
    api.send(Fenced(lease_id=lease, reason="end"))


async def test_cut_task_survives_and_is_ended_in_time(api: Any, start_agent: Any, tmp_path: Path) -> None:
    agent = await start_agent(environ=SHORT)
    lasting = api.offer_tolerant(f"echo $$; {wait_for_file(tmp_path / 'go')}", 600)
    short = api.offer_tolerant(IMMORTAL, SHORT_T)
    pids = [await started(api, lease) for lease in (lasting, short)]
    await api.stop()
    await until(lambda: not alive(pids[1]), "the end of the overdue task")
    assert alive(pids[0])
    (tmp_path / "go").touch()
    await api.start()
    assert (await api.wait_for(Report, lasting)).outcome == "succeeded"
    report = await api.wait_for(Report, short)
    assert report.outcome == "failed"
    assert report.error.startswith("out of contact with the edge API for ")
    assert b"out of contact" in await api.wait_log(short, b"out of contact")
    assert agent.running


async def test_connected_task_lives_on_past_its_tolerance(api: Any, start_agent: Any, tmp_path: Path) -> None:
    """Every heartbeat renews the contact, in the agent and in its runner."""
    await start_agent(environ=SHORT)
    lease = api.offer_tolerant(f"echo $$; {wait_for_file(tmp_path / 'go')}", 11)

    def connected_s() -> float:
        marks = [beat.mark for beat in api.seen(Heartbeat) if beat.mark is not None]
        return (marks[-1] - marks[0]) / 1000 if marks else 0

    await until(lambda: connected_s() > 11 - FENCE_MARGIN_S + RUNNER_LATER_S + 1, "it outlives both deadlines")
    (tmp_path / "go").touch()
    assert (await api.wait_for(Report, lease)).outcome == "succeeded"


async def test_runner_ends_the_task_of_a_stopped_agent(api: Any, start_agent: Any, stopped: list[int]) -> None:
    agent = await start_agent(environ=SHORT)
    lease = api.offer_tolerant(IMMORTAL, SHORT_T)
    pid = await started(api, lease)
    stopped.append(agent.pid)
    agent.signal(signal.SIGSTOP)
    await until(lambda: not alive(pid), "the end of the task")
    agent.signal(signal.SIGCONT)
    report = await api.wait_for(Report, lease)
    assert (report.outcome, report.error.partition(" for ")[0]) == ("failed", "out of contact with the edge API")


async def test_agent_ends_the_task_of_a_stopped_runner(api: Any, start_agent: Any, stopped: list[int]) -> None:
    agent = await start_agent(environ=SHORT)
    lease = api.offer_tolerant(IMMORTAL, SHORT_T)
    pid = await started(api, lease)
    (runner,) = children(agent.pid)
    (supervisor,) = children(runner)
    stopped.append(runner)
    os.kill(runner, signal.SIGSTOP)
    await api.stop()
    await until(lambda: not alive(pid), "the end of the task")
    await until(lambda: not alive(supervisor), "the end of its supervisor")
    os.kill(runner, signal.SIGCONT)
    await api.start()
    report = await api.wait_for(Report, lease)
    assert report.error.startswith("out of contact")
