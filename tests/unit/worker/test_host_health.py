"""When a host takes no jobs: disk space, and tasks that do not start."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_worker.maintenance.host_health import DiskFloor
from edge_worker.tasks.start_failures import FIRST_WAIT_S, IN_A_ROW, LONGEST_WAIT_S, StartFailures

MIB = 1 << 20


@pytest.mark.parametrize(("total", "floor"), [(100_000, 256), (100, 10)], ids=["large disk", "small disk"])
def test_disk_below_its_floor_is_healthy_again_clearly_above_it(
    monkeypatch: pytest.MonkeyPatch, total: int, floor: int
) -> None:
    usage = SimpleNamespace(total=total * MIB, free=floor * MIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    disk = DiskFloor(Path("/state"), 256 * MIB)
    assert disk.check() is None
    usage.free -= 1
    assert disk.check() == f"less than {floor} MiB of disk space are free in /state"
    usage.free += 1
    assert disk.check() is not None, "it would be low again at once"
    usage.free = int(floor * MIB * 1.1) + 1
    assert disk.check() is None


def test_disk_that_cannot_be_read_is_not_healthy(tmp_path: Path) -> None:
    assert "No such file" in str(DiskFloor(tmp_path / "gone", 1).check())


def test_one_failed_start_stops_the_worker_and_waits_grow() -> None:
    starts, now = StartFailures(), 0.0
    for wait in (FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S):
        starts.not_started("disk full", now)
        starts.not_started("another of the same moment", now)
        assert starts.reason == "disk full"
        assert not starts.retry_due(now + wait - 0.1)
        now += wait
        assert starts.retry_due(now)
        starts.retry()
        assert starts.reason is None
    starts.ran()
    starts.not_started("disk full", now)
    assert starts.retry_due(now + FIRST_WAIT_S)
    for _ in range(20):
        starts.retry()
        starts.not_started("disk full", now)
    assert starts.retry_due(now + LONGEST_WAIT_S)


def test_only_tasks_in_a_row_that_could_not_be_run_stop_the_worker() -> None:
    starts = StartFailures()
    for _ in range(IN_A_ROW - 1):
        starts.not_run("refused", 0)
    starts.ran()
    for _ in range(IN_A_ROW):
        assert starts.reason is None
        starts.not_run("refused", 0)
    assert starts.reason == "3 tasks in a row could not be run; the last one: refused"
