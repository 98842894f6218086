"""A stopping agent drains, and leaves nothing running and nothing undelivered."""

import os
import signal
from pathlib import Path
from typing import Any

from edge_protocol.frames import Accept, Bye, Cancel, DesiredFrame, Heartbeat, Hello, Report
from edge_testing.waiting import until
from edge_testing.workers.processes import alive, children, started, wait_for_file


async def test_background_process_of_a_finished_task_lives_until_the_worker_stops(api: Any, start_agent: Any) -> None:
    agent = await start_agent()
    lease = api.offer("setsid sleep 1000 & echo $!")
    await api.wait_for(Report, lease)
    left = int(await api.wait_log(lease, b"\n"))
    killed = api.offer("echo $$; sleep 1000")
    await started(api, killed)
    api.send(Cancel(lease_id=killed, reason="test"))
    await api.wait_for(Report, killed)
    assert alive(left)
    agent.signal(signal.SIGTERM)
    assert await agent.exit_code() == 0
    assert not alive(left)


async def test_background_process_of_a_finished_task_leaves_no_zombie(
    api: Any, start_agent: Any, tmp_path: Path
) -> None:
    agent = await start_agent()
    lease = api.offer(f"setsid sh -c '{wait_for_file(tmp_path / 'go')}' & echo $!")
    await api.wait_for(Report, lease)
    left = int(await api.wait_log(lease, b"\n"))
    (runner,) = children(agent.pid)
    os.kill(runner, signal.SIGKILL)
    await until(lambda: left in children(agent.pid), "it belongs to the agent")
    (tmp_path / "go").touch()
    await until(lambda: left not in children(agent.pid), "the agent has reaped it")


async def test_sigterm_drains(api: Any, start_agent: Any, tmp_path: Path) -> None:
    agent = await start_agent()
    lease = api.offer(f"echo $$; {wait_for_file(tmp_path / 'go')}; echo last words")
    await started(api, lease)
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


async def test_drain_timeout_ends_tasks(api: Any, start_agent: Any) -> None:
    agent = await start_agent("--drain-timeout", "0.3", environ={"EDGE_WORKER_KILL_GRACE_S": "0.3"})
    lease = api.offer("trap '' TERM; echo $$; while true; do sleep 0.1; done")
    await started(api, lease)
    agent.signal(signal.SIGINT)
    assert await agent.exit_code() == 0
    (report,) = api.seen(Report, lease)
    assert (report.outcome, report.error) == ("failed", "stopped by worker shutdown after drain timeout")
    assert b"drain timeout" in api.logs[lease]


async def test_second_signal_skips_the_wait(api: Any, start_agent: Any) -> None:
    agent = await start_agent()
    lease = api.offer("echo $$; sleep 1000")
    await started(api, lease)
    agent.signal(signal.SIGTERM)
    await until(lambda: api.seen(Heartbeat)[-1].terminating, "terminating")
    agent.signal(signal.SIGTERM)
    assert await agent.exit_code() == 0
    assert api.seen(Report, lease)[0].outcome == "failed"


async def test_signal_after_a_remote_shutdown_does_not_cut_the_drain_short(
    api: Any, start_agent: Any, tmp_path: Path
) -> None:
    agent = await start_agent()
    lease = api.offer(f"echo $$; {wait_for_file(tmp_path / 'go')}")
    await started(api, lease)
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
