"""The health check, expiring credentials, and the states of a worker that reconnects and leaves."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge_testing.database.db import Db
from edge_testing.edge_api.admin import AdminClient, admin_client
from edge_testing.edge_api.commands import join_token
from edge_testing.edge_api.credentials import admin_credential
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.skipping import cannot_run
from edge_testing.waiting import until
from edge_testing.workers.worker import Tasks, Worker, reaches
from edge_worker.connection.credential import StoredCredential
from edge_worker.host.state import StateFolder

HEALTH = """
from pathlib import Path

def look():
    file = Path("{file}")
    return file.read_text() if file.exists() else "ok"
"""


@pytest.fixture
async def watched(api: ApiProcess, make_worker: Any, tmp_path: Path, admin: AdminClient) -> Worker:
    """A worker whose health check returns the content of the file `trouble`."""
    (tmp_path / "site_health.py").write_text(HEALTH.format(file=tmp_path / "trouble"))
    worker: Worker = make_worker(api.url)
    await worker.start("--health-check", "site_health:look", environ={"PYTHONPATH": str(tmp_path)})
    await reaches(admin, "idle")
    return worker


async def test_unhealthy_host_is_in_maintenance_until_it_is_well(
    watched: Worker, admin: AdminClient, tasks: Tasks, tmp_path: Path, db: Db
) -> None:
    (tmp_path / "trouble").write_text("disk is full")
    shown = await reaches(admin, "maintenance mode")
    assert (shown["maintenance"]["comment"], shown["maintenance"]["by"]) == ("disk is full", "worker health check")
    job = tasks.queue("one")
    status = await watched.status()
    assert (status["health"], status["maintenance_by"]) == ("disk is full", "worker health check")
    assert db.state(job) == "queued"
    (tmp_path / "trouble").unlink()
    await tasks.begun("one")
    assert (await watched.status())["health"] is None


async def test_health_check_does_not_end_what_a_human_began(
    watched: Worker, admin: AdminClient, tmp_path: Path
) -> None:
    await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "from afar"})
    await reaches(admin, "maintenance mode")
    (tmp_path / "trouble").write_text("disk is full")

    async def health() -> Any:
        return (await watched.status())["health"]

    await until(health, "the health check objects")
    (tmp_path / "trouble").unlink()

    async def well() -> bool:
        return await health() is None

    await until(well, "the health check is content")
    shown = await reaches(admin, "maintenance mode")
    assert (shown["maintenance"]["comment"], shown["maintenance"]["by"]) == ("from afar", "anna")


async def test_health_maintenance_ends_after_a_restart(watched: Worker, admin: AdminClient, tmp_path: Path) -> None:
    (tmp_path / "trouble").write_text("disk is full")
    await reaches(admin, "maintenance mode")
    await watched.kill()
    (tmp_path / "trouble").unlink()
    await watched.start("--health-check", "site_health:look", environ={"PYTHONPATH": str(tmp_path)})
    await reaches(admin, "idle")


async def test_worker_that_cannot_start_tasks_takes_no_more_jobs(
    api: ApiProcess, make_worker: Any, admin: AdminClient, db: Db
) -> None:
    worker: Worker = make_worker(api.url)
    await worker.start("--concurrency", "2")
    await reaches(admin, "idle")
    spool = worker.state_dir / "leases"
    spool.rename(worker.state_dir / "set-aside")
    # A file in its place: every start fails at once, as on a full disk.
    spool.touch()
    jobs = [job for _ in range(20) for job in db.enqueue(workload="true")]
    shown = await reaches(admin, "maintenance mode")
    assert shown["maintenance"]["by"] == "worker health check"
    assert shown["maintenance"]["comment"].startswith("the task could not be started: [Errno ")
    assert (await worker.status())["health"] == shown["maintenance"]["comment"]
    failed = [job for job in jobs if db.state(job) == "failed"]
    assert 1 <= len(failed) <= 2
    spool.unlink()
    (worker.state_dir / "set-aside").rename(spool)
    others = set(jobs) - set(failed)
    await until(lambda: {db.state(job) for job in others} == {"succeeded"}, "the other jobs have run", 60)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 20 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        cannot_run("needs to mount a tmpfs: run as root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Fill the file system of a folder, and return the file that does."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


async def test_full_disk_fails_few_jobs_and_the_rest_waits(
    small_disk: Path, api: ApiProcess, make_worker: Any, admin: AdminClient, db: Db
) -> None:
    worker: Worker = make_worker(api.url, folder=small_disk)
    await worker.start("--concurrency", "2")
    await reaches(admin, "idle")
    filler = fill(small_disk)
    jobs = [job for _ in range(50) for job in db.enqueue(workload="true")]
    shown = await reaches(admin, "maintenance mode")
    assert shown["maintenance"]["by"] == "worker health check"
    failed = [job for job in jobs if db.state(job) == "failed"]
    assert len(failed) <= 2
    low = f"less than 2 MiB of disk space are free in {worker.state_dir}"

    async def shows_the_disk() -> bool:
        return bool((await admin.call("GET", "/workers/w1"))["maintenance"]["comment"] == low)

    await until(shows_the_disk, "the reason is the disk")
    filler.unlink()
    others = set(jobs) - set(failed)
    await until(lambda: {db.state(job) for job in others} == {"succeeded"}, "the other jobs have run", 60)


async def test_maintenance_that_the_disk_cannot_keep_is_an_error_that_says_so(
    small_disk: Path, api: ApiProcess, make_worker: Any, admin: AdminClient
) -> None:
    worker: Worker = make_worker(api.url, folder=small_disk)
    await worker.start()
    await reaches(admin, "idle")
    filler = fill(small_disk)
    for wait in ((), ("--wait",)):
        result = await worker.command("maintenance", "on", "-c", "new disk", *wait)
        assert (result.code, result.out, result.err.count("\n")) == (1, "", 1), result
        assert f"{worker.state_dir / 'maintenance.json'} cannot be written (No space left on device)" in result.err
        assert "Free disk space or make the folder writable, and repeat the command" in result.err
    # As the error says, it is in effect all the same.
    shown = await reaches(admin, "maintenance mode")
    assert (shown["maintenance"]["comment"], shown["maintenance"]["by"]) == ("new disk", "worker host")
    filler.unlink()
    assert (await worker.command("maintenance", "off", "--wait")).code == 0
    await reaches(admin, "idle")


async def test_wrong_health_check_is_one_clear_line(api: ApiProcess, make_worker: Any) -> None:
    worker = make_worker(api.url)
    await worker.start("--health-check", "no_such_module:look")
    assert await worker.agent.exit_code() == 2
    [line] = [line for line in worker.log.read_text().splitlines() if line.startswith("edge-worker: ")]
    assert "no_such_module" in line


async def test_worker_is_starting_until_its_runner_has_loaded(
    api: ApiProcess, make_worker: Any, admin: AdminClient, tasks: Tasks, tmp_path: Path, db: Db
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    worker: Worker = make_worker(api.url)
    await worker.start(environ={"SHELL_RUNNER_GATE": str(gate)})
    await reaches(admin, "starting")
    job = tasks.queue("one")
    explained = await admin.call("GET", f"/jobs/{job}/explain")
    assert (explained["verdict"], explained["workers"][0]["reasons"][0]["code"]) == ("starting", "starting")
    assert (await worker.status())["state"] == "starting"
    # A heartbeat in between changes nothing.
    [before] = db.rows("SELECT last_heartbeat FROM edge.worker")
    await until(
        lambda: db.rows("SELECT last_heartbeat FROM edge.worker")[0][0] > before[0], "it is heard of while it starts"
    )
    assert db.state(job) == "queued"
    await asyncio.to_thread(gate.write_bytes, b"go")
    await tasks.begun("one")
    await reaches(admin, "running")


async def test_states_of_a_worker_that_is_killed_and_comes_back(
    worker: Worker, admin: AdminClient, tasks: Tasks, db: Db
) -> None:
    job = tasks.queue("one")
    await tasks.begun("one")
    await reaches(admin, "running")
    await worker.kill()
    await reaches(admin, "unknown")
    await until(lambda: db.state(job) == "lost", "its job is lost")
    await worker.start()
    await reaches(admin, "idle")
    second = tasks.queue("two")
    await tasks.begun("two")
    await worker.kill()
    await worker.start()
    # No waiting time: the hello takes over the name and fails the lost task.
    await until(lambda: db.state(second) in ("failed", "lost"), "the task that died with its agent is finished")
    third = tasks.queue("three")
    await tasks.begun("three")
    assert db.state(third) == "running"


async def test_states_between_a_request_and_its_acknowledgement(
    start_api: StartApi, make_worker: Any, db: Db, tasks: Tasks
) -> None:
    """Pausing the agent makes states visible that normally last for a moment."""
    worker: Worker = make_worker((await start_api(heartbeat_interval_s=10)).url)
    await worker.start()
    async with admin_client(worker.api_url, admin_credential(db)) as admin:
        await reaches(admin, "idle")
        with worker.paused():
            await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "new disk"})
            await reaches(admin, "maintenance request")
            job = tasks.queue("one")
        await reaches(admin, "maintenance mode")
        assert db.state(job) == "queued"
        with worker.paused():
            await admin.call("DELETE", "/workers/w1/maintenance")
            await reaches(admin, "maintenance exit")
        await tasks.begun("one")
        await reaches(admin, "running")
        with worker.paused():
            await admin.call("PUT", "/workers/w1/shutdown")
            await reaches(admin, "shutdown request")
        await reaches(admin, "terminating")
        tasks.let_go("one")
        assert await worker.agent.exit_code() == 0
        await reaches(admin, "offline")


async def test_worker_outlives_its_credentials(
    start_api: StartApi, make_worker: Any, db: Db, tasks: Tasks, tmp_path: Path
) -> None:
    """Credentials expire after five seconds here; a task runs across two rotations, and its session continues."""
    api = await start_api(credential_lifetime_s=5, credential_overlap_s=1)
    worker: Worker = make_worker(api.url)
    state = StateFolder(worker.state_dir)
    first = StoredCredential.read(state)
    assert first is not None
    first.model_copy(update={"received_at": datetime(2020, 1, 1, tzinfo=UTC)}).write(state)
    await worker.start()
    job = tasks.queue("one")
    await tasks.begun("one")
    seen = {first.credential_id}

    def rotated_twice() -> bool:
        stored = StoredCredential.read(state)
        assert stored is not None
        seen.add(stored.credential_id)
        return len(seen) >= 4

    await until(rotated_twice, "the credential is replaced twice")
    async with admin_client(api.url, admin_credential(db)) as admin:
        assert (await reaches(admin, "running"))["jobs_active"] == 1
    tasks.let_go("one")
    await until(lambda: db.state(job) == "succeeded", "the task ends well")
    assert worker.agent.running
    assert first.credential not in worker.log.read_text()


async def test_expired_credential_is_replaced_if_a_join_token_is_given(
    start_api: StartApi, make_worker: Any, db: Db, tmp_path: Path
) -> None:
    past = datetime(2025, 1, 1, tzinfo=UTC)
    worker: Worker = make_worker((await start_api()).url, expires_at=past)
    state = StateFolder(worker.state_dir)
    expired = StoredCredential.read(state)
    assert expired is not None
    expired.model_copy(update={"expires_at": past}).write(state)
    (tmp_path / "join").write_text(join_token(db.url))
    await worker.start("--api-url", worker.api_url, "--join-token-file", str(tmp_path / "join"))
    async with admin_client(worker.api_url, admin_credential(db)) as admin:
        await reaches(admin, "idle")
    fresh = StoredCredential.read(state)
    assert fresh is not None
    assert fresh.expires_at > datetime.now(UTC)


async def test_expired_credential_says_how_to_enrol_again(start_api: StartApi, make_worker: Any) -> None:
    worker: Worker = make_worker((await start_api()).url, expires_at=datetime(2025, 1, 1, tzinfo=UTC))
    await worker.start()
    assert await worker.agent.exit_code() == 3
    assert "enrol this worker again with a new join token: edge-worker enroll" in worker.log.read_text()
