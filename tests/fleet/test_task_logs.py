"""Logs of real tasks on a real worker: more than is stored, and bytes that are no text."""

from typing import Any
from uuid import UUID

from edge_testing.database.db import Db
from edge_testing.edge_api.process import StartApi
from edge_testing.waiting import until
from edge_testing.workers.worker import Worker

BOUND = 1 << 20
LINES = 400_000


async def test_a_task_that_logs_too_much_goes_on_and_its_end_can_be_read(
    start_api: StartApi, make_worker: Any, db: Db
) -> None:
    """Its bytes are acknowledged, so that they do not fill the worker's disk, and other tasks' logs are whole."""
    api = await start_api(log_max_bytes=BOUND)
    worker: Worker = make_worker(api.url)
    await worker.start()
    binary = r"printf '\000\377\376 binary\n'"
    [loud] = db.enqueue(workload=f"{binary}; seq 1 {LINES}; {binary}; echo the end; exit 3")
    [quiet] = db.enqueue(workload="echo one; echo two")
    await until(lambda: {db.state(loud), db.state(quiet)} == {"failed", "succeeded"}, "both tasks have ended")
    assert db.job(loud).exit_code == 3

    def log_of(job: UUID) -> bytes:
        return db.log_of(db.job(job).lease_id)

    await until(lambda: log_of(loud).endswith(b"the end\n"), "the end of the log has arrived")
    stored = log_of(loud)
    assert len(stored) < BOUND + 130 * 1024
    assert stored.startswith(b"\0\xff\xfe binary\n1\n2\n")
    assert stored.count(b"[log truncated: ") == 1
    assert stored.endswith(f"{LINES}\n".encode() + b"\0\xff\xfe binary\nthe end\n")
    await until(lambda: log_of(quiet) == b"one\ntwo\n", "the other log has arrived")
    await until(lambda: not list((worker.state_dir / "leases").iterdir()), "the worker has freed its disk")
