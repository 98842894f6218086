"""The same agent over both transports, and the switch between them."""

import signal
from typing import Any

import pytest

from edge_protocol.frames import Heartbeat, Hello, Report
from edge_testing.waiting import until


async def run_one(api: Any) -> None:
    lease = api.offer("echo hello; seq 1 20000")
    assert (await api.wait_for(Report, lease)).outcome == "succeeded"
    log = await api.wait_log(lease, b"\n20000\n")
    assert log == b"hello\n" + b"".join(b"%d\n" % number for number in range(1, 20_001))


async def test_websocket_comes_first(api: Any, start_agent: Any) -> None:
    await start_agent()
    await run_one(api)
    assert api.transports == ["websocket"]


@pytest.mark.parametrize("status", [200, 400, 403, 502])
async def test_refused_upgrade_falls_back_to_long_polling(api: Any, start_agent: Any, status: int) -> None:
    api.refuse_websocket = status
    await start_agent()
    await run_one(api)
    assert set(api.transports) == {"sync"}


async def test_websockets_that_die_at_once_fall_back_to_long_polling(api: Any, start_agent: Any) -> None:
    api.break_websocket = True
    await start_agent()
    await run_one(api)
    assert set(api.transports) == {"sync"}


async def test_long_polling_as_a_setting(api: Any, start_agent: Any) -> None:
    agent = await start_agent("--transport", "sync")
    await run_one(api)
    # One may have been on its way while the task ended.
    beat = await api.wait_for(Heartbeat, count=len(api.seen(Heartbeat)) + 2)
    assert beat.jobs_active == 0
    agent.signal(signal.SIGTERM)
    assert await agent.exit_code() == 0
    assert set(api.transports) == {"sync"}


async def test_websocket_as_a_setting_does_not_fall_back(api: Any, start_agent: Any) -> None:
    api.refuse_websocket = 400
    agent = await start_agent("--transport", "websocket")
    await until(lambda: agent.output().count("refused with HTTP status 400") >= 3, "three attempts")
    assert not api.seen(Hello)


async def test_long_poll_session_that_the_api_forgot_is_opened_again(api: Any, start_agent: Any) -> None:
    await start_agent("--transport", "sync")
    await run_one(api)
    await api.stop()
    await api.start()
    await api.wait_for(Hello, count=2)
    await run_one(api)


async def test_refused_credential_over_long_polling(api: Any, start_agent: Any) -> None:
    api.credential = "another"
    agent = await start_agent("--transport", "sync")
    assert await agent.exit_code() == 3
    assert "the credential is revoked; enrol this worker again" in agent.output().splitlines()[-1]
