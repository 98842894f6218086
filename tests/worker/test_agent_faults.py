"""An agent when something is killed, cut off, refused or full."""

import os
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

from edge_protocol.frames import Ack, Heartbeat, Hello, Log, Report
from edge_testing.waiting import until
from edge_testing.workers.processes import alive, children, started, wait_for_file
from edge_worker.logs.shipper import REFUSALS_MAX


async def test_api_is_away_while_a_task_runs(api: Any, start_agent: Any, tmp_path: Path) -> None:
    await start_agent()
    lease = api.offer(f"echo $$; {wait_for_file(tmp_path / 'go')}; echo after the outage")
    pid = await started(api, lease)
    await api.stop()
    (tmp_path / "go").touch()
    await until(lambda: not alive(pid), "end of the task")
    await api.start()
    hello = await api.wait_for(Hello, count=2)
    assert hello.held == [lease]
    assert (await api.wait_for(Report, lease)).outcome == "succeeded"
    assert await api.wait_log(lease, b"outage\n") == f"{pid}\nafter the outage\n".encode()


async def test_unacknowledged_report_is_repeated_after_a_cut(api: Any, start_agent: Any) -> None:
    api.ack_reports = False
    await start_agent()
    lease = api.offer("true")
    await api.wait_for(Report, lease)
    await api.cut()
    assert (await api.wait_for(Hello, count=2)).held == [lease]
    api.ack_reports = True
    api.send(Ack(of="report", lease_id=lease))
    await api.wait_for(Report, lease, count=2)


async def test_tasks_of_a_killed_agent_end_and_are_reported_after_a_restart(
    api: Any, start_agent: Any, state_dir: Path
) -> None:
    agent = await start_agent()
    lease = api.offer("trap '' TERM; echo $$; while true; do sleep 0.1; done")
    pid = await started(api, lease)
    runners = children(agent.pid)
    agent.signal(signal.SIGKILL)
    await agent.exit_code()
    successor = await start_agent()
    assert (await api.wait_for(Hello, count=2)).held == [lease]
    assert not alive(pid), "the successor waits for the end of its predecessor's tasks"
    assert not any(alive(runner) for runner in runners)
    report = await api.wait_for(Report, lease)
    assert report.outcome == "failed"
    await until(lambda: not any((state_dir / "leases").iterdir()), "empty spool")
    assert (await api.wait_for(Report, api.offer("true"))).outcome == "succeeded"
    assert successor.running


async def test_report_that_was_due_survives_a_killed_agent(api: Any, start_agent: Any) -> None:
    api.ack_reports = False
    agent = await start_agent()
    lease = api.offer("echo done")
    await api.wait_for(Report, lease)
    agent.signal(signal.SIGKILL)
    await agent.exit_code()
    api.ack_reports = True
    await start_agent()
    assert (await api.wait_for(Hello, count=2)).held == [lease]
    assert (await api.wait_for(Report, lease, count=2)).outcome == "succeeded"
    assert await api.wait_log(lease, b"done\n") == b"done\n"


async def test_killed_runner_is_replaced_and_its_tasks_are_reported(api: Any, start_agent: Any) -> None:
    agent = await start_agent()
    lease = api.offer("echo $$; setsid sleep 1000 & echo $!; wait")
    pid = await started(api, lease)
    (runner,) = children(agent.pid)
    os.kill(runner, signal.SIGKILL)
    report = await api.wait_for(Report, lease)
    assert (report.outcome, report.error) == ("failed", "the runner process died")
    assert not alive(pid)
    assert not alive(int(api.logs[lease].split()[1])), "processes of the task outlive it"
    assert (await api.wait_for(Report, api.offer("true"))).outcome == "succeeded"


async def test_killed_supervisor_leaves_nothing_running(api: Any, start_agent: Any) -> None:
    agent = await start_agent()
    lease = api.offer("echo $$; setsid sleep 1000 & echo $!; wait")
    pid = await started(api, lease)
    (runner,) = children(agent.pid)
    (supervisor,) = children(runner)
    os.kill(supervisor, signal.SIGKILL)
    report = await api.wait_for(Report, lease)
    assert report.error == "the task's supervisor process was ended by SIGKILL"
    log = await api.wait_log(lease, b"SIGKILL")
    assert not alive(pid)
    assert not alive(int(log.split()[1]))


async def test_refused_credential_stops_an_idle_worker(api: Any, start_agent: Any) -> None:
    api.credential = "another"
    agent = await start_agent()
    assert await agent.exit_code() == 3
    assert "edge-worker enroll" in agent.output().splitlines()[-1]


async def test_refused_credential_lets_tasks_finish(api: Any, start_agent: Any, tmp_path: Path) -> None:
    agent = await start_agent()
    lease = api.offer(f"echo $$; {wait_for_file(tmp_path / 'go')}; touch {tmp_path}/finished")
    await started(api, lease)
    api.credential = "another"
    await api.cut()
    await until(lambda: "tasks still run" in agent.output(), "refusal in the log")
    (tmp_path / "go").touch()
    assert await agent.exit_code(60) == 3
    assert (tmp_path / "finished").exists()


async def test_broken_runner_stops_the_worker_before_it_takes_jobs(api: Any, start_agent: Any) -> None:
    agent = await start_agent(environ={"SHELL_RUNNER_BROKEN": "1"})
    assert await agent.exit_code() == 1
    assert "the runner cannot be started: broken by the test" in agent.output().splitlines()[-1]
    frames = [*api.seen(Hello), *api.seen(Heartbeat)]
    assert not any(frame.initialised for frame in frames)


async def test_spool_bound_drops_the_oldest_unsent_log(api: Any, start_agent: Any) -> None:
    api.ack_logs = False
    agent = await start_agent(environ={"EDGE_WORKER_SPOOL_MAX_BYTES": str(1 << 20)})
    lease = api.offer("seq 1 700000; echo the end")
    report = await api.wait_for(Report, lease)
    assert report.outcome == "succeeded"
    await until(lambda: "spool is full" in agent.output(), "full spool")
    api.ack_logs = True
    await api.cut()
    log = await api.wait_log(lease, b"the end\n")
    assert len(log) == sum(len(f"{number}\n") for number in range(1, 700_001)) + len("the end\n")
    assert 3 << 20 < api.skipped[lease] < len(log)
    notice = log[log.rindex(b"\0") + 1 :].lstrip(b"\n").split(b"\n")[0]
    assert b"bytes of log dropped" in notice
    numbers = log[log.rindex(b"\0") + 1 :].lstrip(b"\n").split(b"\n")[1:-2]
    assert [int(number) for number in numbers] == list(range(int(numbers[0]), 700_001))


async def test_log_that_cannot_be_stored_does_not_end_its_task(api: Any, start_agent: Any, state_dir: Path) -> None:
    api.refuse_logs = True
    await start_agent()
    lease = api.offer("for i in 1 2 3 4 5; do echo $i; sleep 0.3; done")
    report = await api.wait_for(Report, lease)
    assert (report.outcome, report.error) == ("succeeded", None)
    assert len(api.seen(Log, lease)) == REFUSALS_MAX
    await until(lambda: not list((state_dir / "leases").iterdir()), "the lease is released")


async def test_unreadable_files_of_one_task_do_not_end_the_others(
    api: Any, start_agent: Any, tmp_path: Path, state_dir: Path
) -> None:
    agent = await start_agent()
    other = api.offer(f"echo $$; {wait_for_file(tmp_path / 'go')}")
    await started(api, other)
    lease = uuid4()
    folder = state_dir / "leases" / str(lease)
    # A folder in place of a file: reading it fails as it does on a disk with errors.
    script = f"rm {folder}/logs/a/b.log; mkdir {folder}/logs/a/b.log {folder}/outcome.json"
    api.offer(script, lease_id=lease)
    report = await api.wait_for(Report, lease)
    assert report.error == "the file that says how the task ended cannot be read: Is a directory"
    (tmp_path / "go").touch()
    assert (await api.wait_for(Report, other)).outcome == "succeeded"
    await until(lambda: not list((state_dir / "leases").iterdir()), "both leases are released")
    assert agent.running
