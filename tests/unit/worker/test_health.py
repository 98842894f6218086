"""The site's health function: foreign code that may do anything."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_worker.errors import ConfigError
from edge_worker.maintenance.health import HealthCheck, load_health_check


def fail() -> None:
    raise OSError("no such disk")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda: None, None),
        (lambda: True, None),
        (lambda: " OK ", None),
        (lambda: "", None),
        (lambda: "disk full", "disk full"),
        (lambda: False, "the health check returned False"),
        (lambda: 3, "3"),
        (fail, "the health check failed: OSError: no such disk"),
    ],
)
async def test_results(function: Callable[[], Any], reason: str | None) -> None:
    assert await HealthCheck(function, 30).run() == reason


async def test_call_that_hangs_means_unhealthy_and_is_not_repeated() -> None:
    go, calls = threading.Event(), []

    def slow() -> None:
        calls.append(1)
        go.wait(30)

    check = HealthCheck(slow, 0.05)
    for _ in range(3):
        assert await check.run() == "the health check gave no answer within 0.05 s"
    assert len(calls) == 1
    go.set()
    async with asyncio.timeout(30):
        while await check.run() is not None:
            pass


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("json", "name it as module:function"),
        (":loads", "name it as module:function"),
        ("no_such_module:x", "module 'no_such_module' cannot be imported"),
        ("json:no_such", "has no function 'no_such'"),
        ("json:__name__", "has no function '__name__'"),
    ],
)
def test_names_of_no_function(name: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        load_health_check(name, 1)


def test_module_that_fails_at_its_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_site_health.py").write_text("raise RuntimeError('boo')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="RuntimeError: boo"):
        load_health_check("broken_site_health:x", 1)
