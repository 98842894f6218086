"""A real agent process and a real runner process; only Airflow and the edge API are stood in for."""

import os
import signal
from pathlib import Path
from typing import Any
from uuid import UUID

from edge_protocol.frames import Accept, Ack, Bye, Cancel, DesiredFrame, Fenced, Heartbeat, Hello, Report


async def started(until: Any, api: Any, lease: UUID) -> int:
    """Wait until a task that writes its pid first has done so, and return the pid."""

    def pid() -> int | None:
        first = api.logs.get(lease, b"").split(b"\n")[0]
        return int(first) if first.isdigit() else None

    found: int = await until(pid, f"start of {lease}")
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    lists = [thread.joinpath("children").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for child in " ".join(lists).split()]


def wait_for_file(path: Path) -> str:
    """Shell text that ends as soon as a file is there."""
    return f"while [ ! -e {path} ]; do sleep 0.05; done"


async def test_runs_a_job_and_delivers_its_log(api: Any, start_agent: Any) -> None:
    api.welcome["execution_api_url"] = "http://execution.example/execution/"
    await start_agent()
    lease = api.offer("echo hello; echo to $EXECUTION_API")
    report = await api.wait_for(Report, lease)
    assert (report.outcome, report.exit_code, report.error) == ("succeeded", 0, None)
    assert await api.wait_log(lease, b"execution/\n") == b"hello\nto http://execution.example/execution/\n"


async def test_own_execution_api_url_wins(api: Any, start_agent: Any) -> None:
    api.welcome["execution_api_url"] = "http://other.example"
    await start_agent("--execution-api-url", "http://mine.example/execution")
    lease = api.offer("echo to $EXECUTION_API")
    assert await api.wait_log(lease, b"\n") == b"to http://mine.example/execution\n"


async def test_delivered_lease_leaves_nothing_on_disk(api: Any, start_agent: Any, state_dir: Path, until: Any) -> None:
    await start_agent()
    lease = api.offer("echo hello")
    await api.wait_log(lease, b"hello")
    await until(lambda: not any((state_dir / "leases").iterdir()), "empty spool")


async def test_failed_task_is_reported_with_its_exit_code(api: Any, start_agent: Any) -> None:
    await start_agent()
    report = await api.wait_for(Report, api.offer("exit 3"))
    assert (report.outcome, report.exit_code) == ("failed", 3)
    assert "exit code 3" in report.error


async def test_nothing_starts_before_the_accept_is_acknowledged(api: Any, start_agent: Any, tmp_path: Path) -> None:
    api.ack_accepts = False
    await start_agent()
    lease = api.offer(f"touch {tmp_path}/ran")
    await api.wait_for(Accept, lease)
    seen = len(api.seen(Heartbeat))
    assert lease in (await api.wait_for(Heartbeat, count=seen + 2)).held
    assert not (tmp_path / "ran").exists()
    api.send(Ack(of="accept", lease_id=lease))
    await api.wait_for(Report, lease)
    assert (tmp_path / "ran").exists()


async def test_repeated_job_is_accepted_again_and_runs_once(api: Any, start_agent: Any, tmp_path: Path) -> None:
    await start_agent()
    script = f"echo run >> {tmp_path}/runs; {wait_for_file(tmp_path / 'go')}"
    lease = api.offer(script)
    await api.wait_for(Accept, lease)
    api.offer(script, lease_id=lease)
    await api.wait_for(Accept, lease, count=2)
    (tmp_path / "go").touch()
    await api.wait_for(Report, lease)
    assert (tmp_path / "runs").read_text() == "run\n"


async def test_job_that_does_not_fit_is_left_to_lapse(api: Any, start_agent: Any, tmp_path: Path) -> None:
    await start_agent("--concurrency", "4")
    large = api.offer(wait_for_file(tmp_path / "go"), slots=3)
    await api.wait_for(Accept, large)
    too_large, small = api.offer("true", slots=2), api.offer("true", slots=1)
    await api.wait_for(Report, small)
    assert not api.seen(Accept, too_large)
    (tmp_path / "go").touch()
    await api.wait_for(Report, large)


async def test_cancelled_task_is_ended_and_reported(api: Any, start_agent: Any, until: Any) -> None:
    await start_agent()
    lease = api.offer("echo $$; (setsid sleep 1000 & echo $!; wait)")
    await started(until, api, lease)
    log = await until(lambda: api.logs[lease].count(b"\n") >= 2 and bytes(api.logs[lease]), "background process")
    api.send(Cancel(lease_id=lease, reason="marked failed"))
    report = await api.wait_for(Report, lease)
    assert report.outcome == "failed"
    assert report.error == "cancelled: marked failed"
    assert b"cancelled: marked failed" in await api.wait_log(lease, b"cancelled")
    assert not alive(int(log.split()[0]))


async def test_fenced_task_is_killed_without_a_report_but_with_its_log(
    api: Any, start_agent: Any, until: Any, state_dir: Path
) -> None:
    await start_agent(environ={"EDGE_WORKER_KILL_GRACE_S": "0.2"})
    lease = api.offer("trap '' TERM; echo $$; while true; do sleep 0.1; done")
    pid = await started(until, api, lease)
    api.send(Fenced(lease_id=lease, reason="leased again"))
    await until(lambda: not alive(pid), "end of the fenced task")
    await api.wait_log(lease, b"fenced: leased again")
    await until(lambda: not any((state_dir / "leases").iterdir()), "empty spool")
    assert not api.seen(Report, lease)


async def test_lease_fenced_before_its_start_never_runs(api: Any, start_agent: Any, until: Any, tmp_path: Path) -> None:
    api.ack_accepts = False
    await start_agent()
    lease = api.offer(f"touch {tmp_path}/ran")
    await api.wait_for(Accept, lease)
    api.send(Fenced(lease_id=lease, reason="too late"))
    api.send(Ack(of="accept", lease_id=lease))
    api.ack_accepts = True
    await api.wait_for(Report, api.offer("true"))
    assert not (tmp_path / "ran").exists()
    await until(lambda: lease not in api.seen(Heartbeat)[-1].held, "lease given up")


async def test_api_gone_while_a_task_runs(api: Any, start_agent: Any, until: Any, tmp_path: Path) -> None:
    await start_agent()
    lease = api.offer(f"echo $$; {wait_for_file(tmp_path / 'go')}; echo after the outage")
    pid = await started(until, api, lease)
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


async def test_killed_agent_takes_its_tasks_along_and_reports_after_restart(
    api: Any, start_agent: Any, until: Any, state_dir: Path
) -> None:
    agent = await start_agent()
    lease = api.offer("trap '' TERM; echo $$; while true; do sleep 0.1; done")
    pid = await started(until, api, lease)
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
    assert successor.process.returncode is None


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


async def test_killed_runner_is_replaced_and_its_tasks_are_reported(api: Any, start_agent: Any, until: Any) -> None:
    agent = await start_agent()
    lease = api.offer("echo $$; setsid sleep 1000 & echo $!; wait")
    pid = await started(until, api, lease)
    (runner,) = children(agent.pid)
    os.kill(runner, signal.SIGKILL)
    report = await api.wait_for(Report, lease)
    assert (report.outcome, report.error) == ("failed", "the runner process died")
    assert not alive(pid)
    assert not alive(int(api.logs[lease].split()[1])), "processes of the task outlive it"
    assert (await api.wait_for(Report, api.offer("true"))).outcome == "succeeded"


async def test_killed_supervisor_leaves_nothing_running(api: Any, start_agent: Any, until: Any) -> None:
    agent = await start_agent()
    lease = api.offer("echo $$; setsid sleep 1000 & echo $!; wait")
    pid = await started(until, api, lease)
    (runner,) = children(agent.pid)
    (supervisor,) = children(runner)
    os.kill(supervisor, signal.SIGKILL)
    report = await api.wait_for(Report, lease)
    assert report.error == "the task's supervisor process was ended by signal 9"
    log = await api.wait_log(lease, b"signal 9")
    assert not alive(pid)
    assert not alive(int(log.split()[1]))


async def test_background_process_of_a_finished_task_lives_until_the_worker_stops(
    api: Any, start_agent: Any, until: Any
) -> None:
    agent = await start_agent()
    lease = api.offer("setsid sleep 1000 & echo $!")
    await api.wait_for(Report, lease)
    left = int(await api.wait_log(lease, b"\n"))
    killed = api.offer("echo $$; sleep 1000")
    await started(until, api, killed)
    api.send(Cancel(lease_id=killed, reason="test"))
    await api.wait_for(Report, killed)
    assert alive(left)
    agent.signal(signal.SIGTERM)
    assert await agent.exit_code() == 0
    assert not alive(left)


async def test_sigterm_drains(api: Any, start_agent: Any, until: Any, tmp_path: Path) -> None:
    agent = await start_agent()
    lease = api.offer(f"echo $$; {wait_for_file(tmp_path / 'go')}; echo last words")
    await started(until, api, lease)
    agent.signal(signal.SIGTERM)
    await until(lambda: api.seen(Heartbeat)[-1].terminating, "terminating")
    late = api.offer("true")
    seen = len(api.seen(Heartbeat))
    await api.wait_for(Heartbeat, count=seen + 2)
    assert not api.seen(Accept, late)
    (tmp_path / "go").touch()
    assert await agent.exit_code() == 0
    assert api.seen(Report, lease)[0].outcome == "succeeded"
    assert api.logs[lease].endswith(b"last words\n")
    await api.wait_for(Bye)


async def test_drain_timeout_ends_tasks(api: Any, start_agent: Any, until: Any) -> None:
    agent = await start_agent("--drain-timeout", "0.3", environ={"EDGE_WORKER_KILL_GRACE_S": "0.3"})
    lease = api.offer("trap '' TERM; echo $$; while true; do sleep 0.1; done")
    await started(until, api, lease)
    agent.signal(signal.SIGINT)
    assert await agent.exit_code() == 0
    (report,) = api.seen(Report, lease)
    assert (report.outcome, report.error) == ("failed", "stopped by worker shutdown after drain timeout")
    assert b"drain timeout" in api.logs[lease]


async def test_second_signal_skips_the_wait(api: Any, start_agent: Any, until: Any) -> None:
    agent = await start_agent()
    lease = api.offer("echo $$; sleep 1000")
    await started(until, api, lease)
    agent.signal(signal.SIGTERM)
    await until(lambda: api.seen(Heartbeat)[-1].terminating, "terminating")
    agent.signal(signal.SIGTERM)
    assert await agent.exit_code() == 0
    assert api.seen(Report, lease)[0].outcome == "failed"


async def test_signal_after_a_remote_shutdown_does_not_cut_the_drain_short(
    api: Any, start_agent: Any, until: Any, tmp_path: Path
) -> None:
    agent = await start_agent()
    lease = api.offer(f"echo $$; {wait_for_file(tmp_path / 'go')}")
    await started(until, api, lease)
    api.send(DesiredFrame(version=2, shutdown=True, queues=["default"], concurrency=8))
    await until(lambda: api.seen(Heartbeat)[-1].terminating, "terminating")
    agent.signal(signal.SIGTERM)
    seen = len(api.seen(Heartbeat))
    await api.wait_for(Heartbeat, count=seen + 2)
    (tmp_path / "go").touch()
    assert await agent.exit_code() == 0
    assert api.seen(Report, lease)[0].outcome == "succeeded"


async def test_undelivered_reports_stay_for_the_next_start(api: Any, start_agent: Any) -> None:
    api.ack_reports = False
    agent = await start_agent(environ={"EDGE_WORKER_FLUSH_TIMEOUT_S": "0.3"})
    lease = api.offer("true")
    await api.wait_for(Report, lease)
    agent.signal(signal.SIGTERM)
    assert await agent.exit_code() == 0
    assert not api.seen(Bye), "a lease is still held"
    api.ack_reports = True
    await start_agent()
    await api.wait_for(Report, lease, count=2)


async def test_desired_shutdown_drains(api: Any, start_agent: Any) -> None:
    agent = await start_agent()
    await api.wait_for(Hello)
    for _ in range(3):
        api.send(DesiredFrame(version=2, shutdown=True, queues=["default"], concurrency=8))
    assert await agent.exit_code() == 0
    await api.wait_for(Bye)
    assert api.seen(Heartbeat)[-1].terminating


async def test_maintenance_is_acknowledged_and_takes_no_jobs(api: Any, start_agent: Any, until: Any) -> None:
    await start_agent()
    await api.wait_for(Hello)
    api.send(DesiredFrame(version=5, maintenance=True, queues=["default"], concurrency=2))
    beat = await until(
        lambda: next((beat for beat in api.seen(Heartbeat) if beat.maintenance_acknowledged), None), "maintenance"
    )
    assert (beat.desired_version, beat.free_slots) == (5, 2)
    refused = api.offer("true")
    api.send(DesiredFrame(version=4, maintenance=False, queues=["default"], concurrency=3))
    api.send(DesiredFrame(version=6, maintenance=False, queues=["default"], concurrency=4))
    await until(lambda: api.seen(Heartbeat)[-1].desired_version == 6, "version 6")
    assert not api.seen(Heartbeat)[-1].maintenance_acknowledged
    await api.wait_for(Report, api.offer("true"))
    assert not api.seen(Accept, refused)


async def test_heartbeats_tell_about_the_host(api: Any, start_agent: Any) -> None:
    await start_agent("--concurrency", "3")
    beat = await api.wait_for(Heartbeat, count=3)
    assert (beat.free_slots, beat.jobs_active, beat.terminating) == (3, 0, False)
    assert {"cpu_percent", "memory_percent", "disk_free_bytes", "load1"} <= beat.sysinfo.keys()


async def test_agent_stays_small_before_its_first_task(api: Any, start_agent: Any) -> None:
    agent = await start_agent()
    await api.wait_for(Heartbeat, count=3)
    assert resident_bytes(agent.pid) <= 50 << 20


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_second_agent_on_a_state_folder_is_refused(api: Any, start_agent: Any) -> None:
    await start_agent()
    await api.wait_for(Hello)
    second = await start_agent()
    assert await second.exit_code() == 2
    assert second.output().strip().endswith("stop it or choose another --state-dir")
    assert len(second.output().splitlines()) == 1


async def test_refused_credential_stops_an_idle_worker(api: Any, start_agent: Any) -> None:
    api.credential = "another"
    agent = await start_agent()
    assert await agent.exit_code() == 3
    assert "edge-worker enroll" in agent.output().splitlines()[-1]


async def test_refused_credential_lets_tasks_finish(api: Any, start_agent: Any, until: Any, tmp_path: Path) -> None:
    agent = await start_agent()
    lease = api.offer(f"echo $$; {wait_for_file(tmp_path / 'go')}; touch {tmp_path}/finished")
    await started(until, api, lease)
    api.credential = "another"
    await api.cut()
    await until(lambda: "tasks still run" in agent.output(), "refusal in the log")
    (tmp_path / "go").touch()
    assert await agent.exit_code(60) == 3
    assert (tmp_path / "finished").exists()


async def test_broken_runner_stops_the_worker_before_it_takes_jobs(api: Any, start_agent: Any) -> None:
    agent = await start_agent(environ={"SHELL_RUNNER_BROKEN": "1"})
    assert await agent.exit_code() == 1
    assert "the runner cannot be started: told so by the test" in agent.output().splitlines()[-1]
    said = [*api.seen(Hello), *api.seen(Heartbeat)]
    assert not any(frame.initialised for frame in said)


async def test_spool_bound_drops_the_oldest_unsent_log(api: Any, start_agent: Any, until: Any) -> None:
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
