"""A real agent process and a real runner process; only Airflow and the edge API are replaced."""

import os
from pathlib import Path
from typing import Any

from edge_protocol.frames import Accept, Ack, Cancel, DesiredFrame, Fenced, Heartbeat, Hello, Report
from edge_testing.waiting import until
from edge_testing.workers.processes import alive, started, wait_for_file


async def test_runs_a_job_and_delivers_its_log(api: Any, start_agent: Any) -> None:
    await start_agent()
    lease = api.offer('echo hello; echo "to <$EXECUTION_API>"')
    report = await api.wait_for(Report, lease)
    assert (report.outcome, report.exit_code, report.error) == ("succeeded", 0, None)
    # Airflow's own setting counts where the edge API forwards nothing.
    assert await api.wait_log(lease, b">\n") == b"hello\nto <>\n"


async def test_own_execution_api_url_wins(api: Any, start_agent: Any) -> None:
    api.welcome["execution_forwarded"] = True
    await start_agent("--execution-api-url", "http://mine.example/execution")
    lease = api.offer("echo to $EXECUTION_API")
    assert await api.wait_log(lease, b"\n") == b"to http://mine.example/execution\n"


async def test_delivered_lease_leaves_nothing_on_disk(api: Any, start_agent: Any, state_dir: Path) -> None:
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


async def test_cancelled_task_is_ended_and_reported(api: Any, start_agent: Any) -> None:
    await start_agent()
    lease = api.offer("echo $$; (setsid sleep 1000 & echo $!; wait)")
    await started(api, lease)
    log = await until(lambda: api.logs[lease].count(b"\n") >= 2 and bytes(api.logs[lease]), "background process")
    api.send(Cancel(lease_id=lease, reason="marked failed"))
    report = await api.wait_for(Report, lease)
    assert report.outcome == "failed"
    assert report.error == "cancelled: marked failed"
    assert b"cancelled: marked failed" in await api.wait_log(lease, b"cancelled")
    assert not alive(int(log.split()[0]))


async def test_fenced_task_is_killed_without_a_report_but_with_its_log(
    api: Any, start_agent: Any, state_dir: Path
) -> None:
    await start_agent(environ={"EDGE_WORKER_KILL_GRACE_S": "0.2"})
    lease = api.offer("trap '' TERM; echo $$; while true; do sleep 0.1; done")
    pid = await started(api, lease)
    api.send(Fenced(lease_id=lease, reason="leased again"))
    await until(lambda: not alive(pid), "end of the fenced task")
    await api.wait_log(lease, b"fenced: leased again")
    await until(lambda: not any((state_dir / "leases").iterdir()), "empty spool")
    assert not api.seen(Report, lease)


async def test_lease_fenced_before_its_start_never_runs(api: Any, start_agent: Any, tmp_path: Path) -> None:
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


async def test_maintenance_is_acknowledged_and_takes_no_jobs(api: Any, start_agent: Any) -> None:
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


async def test_heartbeats_report_load_of_the_host(api: Any, start_agent: Any) -> None:
    await start_agent("--concurrency", "3")
    beat = await api.wait_for(Heartbeat, count=3)
    assert (beat.free_slots, beat.jobs_active, beat.terminating) == (3, 0, False)
    assert "site" not in beat.sysinfo
    assert {"cpu_percent", "memory_percent", "disk_free_bytes", "load1"} <= beat.sysinfo.keys()


async def test_heartbeats_report_the_site(api: Any, start_agent: Any) -> None:
    await start_agent(environ={"EDGE_WORKER_SITE": "Plant 7, hall B"})
    assert (await api.wait_for(Heartbeat)).sysinfo["site"] == "Plant 7, hall B"


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
