"""Log files on a real disk: reading, freeing, dropping, and the order of logs."""

import json
from pathlib import Path
from uuid import UUID, uuid4

from edge_protocol.frames import Log
from edge_worker.logs import disk
from edge_worker.logs.shipper import FREE_STEP_BYTES, REFUSALS_MAX, LogShipper
from edge_worker.tasks.spool import LeaseFolder

BIG_WINDOW = 1 << 30


def add(shipper: LogShipper, root: Path, content: bytes) -> tuple[UUID, Path]:
    lease_id = uuid4()
    folder = LeaseFolder(root / str(lease_id))
    folder.logs.mkdir(parents=True)
    path = folder.logs / "task.log"
    path.write_bytes(content)
    shipper.add(lease_id, path, folder.log_progress)
    return lease_id, path


async def ship(shipper: LogShipper, received: dict[UUID, bytearray]) -> None:
    """Send and acknowledge everything."""
    await shipper.poll()
    while (frame := await shipper.next_frame(4096, BIG_WINDOW)) is not None:
        log = received.setdefault(frame.lease_id, bytearray())
        assert frame.offset == len(log) + frame.skipped
        log += b"\0" * frame.skipped + frame.data
        shipper.on_ack(frame.lease_id, len(log))


async def test_ships_existing_and_later_bytes(tmp_path: Path) -> None:
    shipper, received = LogShipper(1 << 30), dict[UUID, bytearray]()
    lease, path = add(shipper, tmp_path, b"one\n")
    await ship(shipper, received)
    assert not shipper.delivered(lease), "the task may still write"
    with path.open("ab") as log:
        log.write(b"two\n")
    await shipper.end(lease)
    assert not shipper.delivered(lease)
    await ship(shipper, received)
    assert bytes(received[lease]) == b"one\ntwo\n"
    assert shipper.delivered(lease)


async def test_job_without_a_log_is_delivered(tmp_path: Path) -> None:
    shipper, lease = LogShipper(1 << 30), uuid4()
    shipper.add(lease, None, LeaseFolder(tmp_path).log_progress)
    assert shipper.delivered(lease)


async def test_log_that_the_edge_api_refuses_is_given_up(tmp_path: Path) -> None:
    shipper = LogShipper(1 << 30)
    lease, _ = add(shipper, tmp_path, b"one\n")
    await shipper.end(lease)
    for _ in range(REFUSALS_MAX):
        assert not shipper.delivered(lease)
        assert await shipper.next_frame(4096, BIG_WINDOW) is not None
        shipper.on_refused(lease, "unknown")
    assert shipper.delivered(lease)
    assert await shipper.next_frame(4096, BIG_WINDOW) is None


async def test_log_that_makes_progress_is_kept(tmp_path: Path) -> None:
    shipper = LogShipper(1 << 30)
    lease, _ = add(shipper, tmp_path, b"one\n")
    await shipper.end(lease)
    for sent in range(REFUSALS_MAX):
        shipper.on_refused(lease, "unknown")
        shipper.on_ack(lease, sent)
    assert not shipper.delivered(lease)


async def test_log_that_cannot_be_read_is_given_up(tmp_path: Path) -> None:
    shipper, received = LogShipper(1 << 20), dict[UUID, bytearray]()
    broken, path = add(shipper, tmp_path, b"x" * (1 << 21))
    path.unlink()
    path.mkdir()
    lease, _ = add(shipper, tmp_path, b"one\n")
    await shipper.end(lease)
    await shipper.end(broken)
    await ship(shipper, received)
    assert received == {lease: b"one\n"}
    assert shipper.delivered(broken)


async def test_window_bounds_the_bytes_in_flight(tmp_path: Path) -> None:
    shipper = LogShipper(1 << 30)
    leases = [add(shipper, tmp_path, b"x" * 100_000)[0] for _ in range(3)]
    await shipper.poll()
    for lease in leases:
        shipper.on_ack(lease, 1)
    sent: list[Log] = []
    while (frame := await shipper.next_frame(4096, 10_000)) is not None:
        sent.append(frame)
    assert sum(len(frame.data) for frame in sent) == 10_000
    assert {frame.lease_id for frame in sent} == set(leases), "the logs take turns"
    shipper.on_disconnect()
    again = await shipper.next_frame(4096, 10_000)
    assert again is not None
    assert again.offset == 1


async def test_disk_space_of_delivered_bytes_is_freed(tmp_path: Path) -> None:
    shipper, received = LogShipper(1 << 30), dict[UUID, bytearray]()
    lease, path = add(shipper, tmp_path, b"y" * (3 * FREE_STEP_BYTES))
    before = path.stat().st_blocks
    await ship(shipper, received)
    await shipper.poll()
    assert path.stat().st_size == 3 * FREE_STEP_BYTES
    assert path.stat().st_blocks <= before // 2
    folder = LeaseFolder(tmp_path / str(lease))
    restarted = LogShipper(1 << 30)
    restarted.add(lease, path, folder.log_progress)
    await restarted.poll()
    frame = await restarted.next_frame(4096, BIG_WINDOW)
    assert frame is None or b"\0" not in frame.data, "freed bytes are never sent"


async def test_full_spool_drops_the_largest_backlog_with_a_notice(tmp_path: Path) -> None:
    limit = 1 << 20
    shipper, received = LogShipper(limit), dict[UUID, bytearray]()
    lines = b"".join(b'{"event": "line %d"}\n' % number for number in range(100_000))
    large, path = add(shipper, tmp_path, lines)
    small, _ = add(shipper, tmp_path, b"small\n")
    await shipper.poll()
    assert path.stat().st_size == len(lines)
    assert path.stat().st_blocks * 512 <= limit + (1 << 16)
    await ship(shipper, received)
    assert bytes(received[small]) == b"small\n"
    kept = bytes(received[large]).lstrip(b"\0").splitlines()
    notice = json.loads(kept[0])
    assert (notice["level"], notice["event"].endswith("spool is full")) == ("warning", True)
    numbers = [int(json.loads(line)["event"].split()[1]) for line in kept[1:]]
    assert numbers == list(range(numbers[0], 100_000))


async def test_repeated_drops_leave_one_notice(tmp_path: Path) -> None:
    limit = 1 << 20
    shipper, received = LogShipper(limit), dict[UUID, bytearray]()
    lease, path = add(shipper, tmp_path, b"0123456789\n" * 200_000)
    for _ in range(5):
        await shipper.poll()
        with path.open("ab") as log:
            log.write(b"0123456789\n" * 50_000)
    await shipper.poll()
    await shipper.end(lease)
    await ship(shipper, received)
    assert received[lease].count(b"spool is full") == 1
    assert len(received[lease]) == path.stat().st_size
    assert shipper.delivered(lease)


def test_notices_start_a_line_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "task.log"
    disk.append_line(path, "error", "first")
    with path.open("ab") as log:
        log.write(b"half a line")
    disk.append_line(path, "error", "second\nwith a break")
    lines = path.read_bytes().splitlines()
    assert [json.loads(lines[0])["event"], lines[1], json.loads(lines[2])["event"]] == [
        "first",
        b"half a line",
        "second\nwith a break",
    ]


def test_missing_file_is_an_empty_log(tmp_path: Path) -> None:
    assert disk.file_size(tmp_path / "no") == 0
    assert disk.read_piece(tmp_path / "no", 0, 10) == b""


def test_next_line_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"ab\ncd\n" + b"z" * 200_000)
    assert [disk.next_line_start(path, offset) for offset in range(7)] == [0, 3, 3, 3, 6, 6, 6]
    assert disk.next_line_start(path, 50) == 50, "in an endless line any offset has to do"
