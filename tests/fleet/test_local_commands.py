"""`edge-worker status`, `maintenance` and `stop` for a real worker, and their effect on the control plane."""

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_testing.database.db import Db
from edge_testing.edge_api.admin import AdminClient
from edge_testing.edge_api.process import ApiProcess
from edge_testing.waiting import until
from edge_testing.workers.worker import Result, Tasks, Worker, reaches


def one_line(result: Result, code: int, *parts: str) -> None:
    assert result.code == code, result
    assert result.out == ""
    assert result.err.startswith("edge-worker: ")
    assert result.err.count("\n") == 1, result.err
    for part in parts:
        assert part in result.err


async def test_status_in_every_format(worker: Worker, admin: AdminClient, tasks: Tasks) -> None:
    job = tasks.queue("one", slots=3)
    await tasks.begun("one")
    status = await worker.status()
    expected = {"name": "w1", "state": "running", "job_count": 1, "maintenance": False, "drain": False, "free_slots": 5}
    assert expected.items() <= status.items()
    assert (status["connected"], status["transport"], status["queues"]) == (True, "websocket", ["default"])
    assert [(each["job_id"], each["slots"], each["phase"]) for each in status["jobs"]] == [(str(job), 3, "running")]
    assert yaml.safe_load((await worker.command("status", "-o", "yaml")).out) == status
    table = (await worker.command("status")).out
    plain = (await worker.command("status", "-o", "plain")).out
    assert ["state", "|", "running"] in [line.split() for line in table.splitlines()]
    assert "job_count\t1" in plain.splitlines()


async def test_maintenance_without_tasks(worker: Worker, admin: AdminClient) -> None:
    result = await worker.command("maintenance", "on", "--comments", "new disk", "--wait", "-o", "json")
    assert result.code == 0, result.err
    assert result.status["state"] == "maintenance mode"
    assert (result.status["maintenance_comments"], result.status["maintenance_by"]) == ("new disk", "worker host")
    shown = await reaches(admin, "maintenance mode")
    assert (shown["maintenance"]["comment"], shown["maintenance"]["by"]) == ("new disk", "worker host")
    result = await worker.command("maintenance", "off", "--wait", "-o", "json")
    assert (result.code, result.status["state"]) == (0, "idle")
    assert (await reaches(admin, "idle"))["maintenance"] is None


async def test_wait_lasts_until_the_tasks_have_ended(
    worker: Worker, admin: AdminClient, tasks: Tasks, db: Db, tmp_path: Path
) -> None:
    job = tasks.queue("one")
    await tasks.begun("one")
    messages = tmp_path / "messages"
    command = worker.command("maintenance", "on", "-c", "new disk", "-w", "-o", "json", errors=messages)
    waiting = asyncio.create_task(command)
    await reaches(admin, "maintenance pending")
    said = "waiting: maintenance pending, 1 task running"
    await until(lambda: messages.exists() and said in messages.read_text(), "the command says what it waits for")
    waits_for_later = tasks.queue("two")
    tasks.let_go("one")
    result = await waiting
    assert (result.code, result.status["state"], result.status["job_count"]) == (0, "maintenance mode", 0)
    await until(lambda: db.state(job) == "succeeded", "the job has succeeded")
    assert db.state(waits_for_later) == "queued"
    assert (await worker.command("maintenance", "off")).code == 0
    await tasks.begun("two")
    await reaches(admin, "running")


async def test_wait_that_takes_too_long(worker: Worker, admin: AdminClient, tasks: Tasks) -> None:
    tasks.queue("one")
    await tasks.begun("one")
    result = await worker.command("maintenance", "on", "-c", "new disk", "--wait", "--timeout", "0.5")
    assert result.code == 1
    assert result.err.splitlines()[-1] == "edge-worker: not reached within 0.5 s; the request stands"
    await reaches(admin, "maintenance pending")


async def test_somebody_else_ends_the_maintenance(worker: Worker, admin: AdminClient, tasks: Tasks) -> None:
    tasks.queue("one")
    await tasks.begun("one")
    waiting = asyncio.create_task(worker.command("maintenance", "on", "-c", "new disk", "--wait"))
    await reaches(admin, "maintenance pending")
    await admin.call("DELETE", "/workers/w1/maintenance")
    result = await waiting
    assert result.code == 1
    assert result.err.splitlines()[-1] == "edge-worker: maintenance was ended by somebody else"
    await reaches(admin, "running")


async def test_comment_is_changed_from_either_side(worker: Worker, admin: AdminClient) -> None:
    assert (await worker.command("maintenance", "on", "-c", "new disk", "--wait")).code == 0
    await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "two disks"})

    async def seen() -> bool:
        return bool((await worker.status())["maintenance_comments"] == "two disks")

    await until(seen, "the worker knows the new comment")
    assert (await worker.status())["maintenance_by"] == "anna"
    assert (await worker.command("maintenance", "on", "-c", "three disks", "--wait")).code == 0
    shown = await reaches(admin, "maintenance mode")
    assert (shown["maintenance"]["comment"], shown["maintenance"]["by"]) == ("three disks", "worker host")
    trail = await admin.get("/audit", object="worker/w1")
    actions = [entry["detail"].get("comment") for entry in trail["items"] if entry["action"] == "worker.maintenance"]
    assert actions == ["three disks", "two disks", "new disk"]


async def test_remote_maintenance_is_ended_on_the_host(worker: Worker, admin: AdminClient) -> None:
    await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "from afar"})
    await reaches(admin, "maintenance mode")
    assert (await worker.command("maintenance", "off", "--wait")).code == 0
    await reaches(admin, "idle")


async def test_asked_while_the_api_is_away_and_remembered_over_a_restart(
    worker: Worker, admin: AdminClient, api: ApiProcess, db: Db, tasks: Tasks
) -> None:
    api.kill()

    async def cut_off() -> bool:
        return not (await worker.status())["connected"]

    await until(cut_off, "the worker knows that it is cut off")
    result = await worker.command("maintenance", "on", "-c", "new disk", "-o", "json")
    assert result.code == 0
    assert "the edge API is not reachable now" in result.err
    assert (result.status["state"], result.status["maintenance_stored"]) == ("maintenance request", False)
    assert stat.S_IMODE((worker.state_dir / "maintenance.json").stat().st_mode) == 0o600
    await worker.kill()
    job = tasks.queue("one")
    api.start()
    await asyncio.to_thread(api.wait_ready)
    await worker.start()
    shown = await reaches(admin, "maintenance mode")
    assert shown["maintenance"]["comment"] == "new disk"
    assert db.state(job) == "queued"
    assert (await worker.status())["maintenance_stored"] is True
    await until(lambda: not (worker.state_dir / "maintenance.json").exists(), "the request is no longer kept")


async def test_offline_maintenance_is_maintenance_again(worker: Worker, admin: AdminClient, tasks: Tasks) -> None:
    assert (await worker.command("maintenance", "on", "-c", "new disk", "--wait")).code == 0
    assert (await worker.command("stop", "--wait")).code == 0
    await reaches(admin, "offline maintenance")
    await worker.start()
    await reaches(admin, "maintenance mode")
    assert (await worker.status())["maintenance_comments"] == "new disk"
    await worker.kill()
    await reaches(admin, "offline maintenance")
    await admin.call("DELETE", "/workers/w1/maintenance")
    await worker.start()
    await reaches(admin, "idle")


async def test_stop_waits_for_tasks_and_process(worker: Worker, admin: AdminClient, tasks: Tasks, db: Db) -> None:
    job = tasks.queue("one")
    await tasks.begun("one")
    waiting = asyncio.create_task(worker.command("stop", "--wait"))
    await reaches(admin, "terminating")
    result = await worker.command("stop")
    assert (result.code, result.out) == (0, "w1 is stopping; 1 task still running\n")
    assert (await worker.status())["drain"] is True
    tasks.let_go("one")
    result = await waiting
    assert (result.code, result.out) == (0, "w1 has stopped\n")
    assert await worker.agent.exit_code() == 0
    await reaches(admin, "offline")
    assert db.state(job) == "succeeded"
    one_line(await worker.command("status"), 3, "no edge worker runs on state folder", str(worker.state_dir))
    assert not (worker.state_dir / "control.sock").exists()


async def test_stop_that_takes_too_long(worker: Worker, tasks: Tasks) -> None:
    tasks.queue("one")
    await tasks.begun("one")
    result = await worker.command("stop", "--wait", "--timeout", "0.5")
    assert (result.code, result.out) == (1, "")
    assert worker.agent.running


async def test_all_of_it_over_long_polls(api: ApiProcess, make_worker: Any, admin: AdminClient) -> None:
    worker = make_worker(api.url)
    await worker.start("--transport", "sync")
    await reaches(admin, "idle")
    result = await worker.command("maintenance", "on", "-c", "new disk", "--wait", "-o", "json")
    assert (result.code, result.status["state"], result.status["transport"]) == (0, "maintenance mode", "sync")

    async def stored() -> bool:
        return bool((await worker.status())["maintenance_stored"])

    # The worker does not wait for that: the maintenance is in effect before the edge API knows it.
    await until(stored, "the edge API has stored the maintenance")
    assert (await worker.command("maintenance", "off", "--wait")).code == 0
    assert (await worker.command("stop", "--wait")).code == 0
    await reaches(admin, "offline")


async def test_maintenance_that_is_cut_short_by_a_stop(worker: Worker, admin: AdminClient, tasks: Tasks) -> None:
    tasks.queue("one")
    await tasks.begun("one")
    waiting = asyncio.create_task(worker.command("maintenance", "on", "-c", "new disk", "--wait"))
    await reaches(admin, "maintenance pending")
    assert (await worker.command("stop")).code == 0
    tasks.let_go("one")
    result = await waiting
    assert result.code == 1
    assert "the worker has stopped in the meantime" in result.err
    await reaches(admin, "offline maintenance")


async def test_worker_that_was_killed_leaves_nothing_that_answers(worker: Worker) -> None:
    await worker.kill()
    one_line(await worker.command("maintenance", "on", "-c", "x"), 3, "no edge worker runs", "edge-worker run")
    await worker.start()

    async def answers() -> bool:
        return (await worker.command("status")).code == 0

    await until(answers, "the new process answers in place of the old one")


async def test_socket_is_for_its_owner_only(worker: Worker) -> None:
    mode = (worker.state_dir / "control.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


async def test_long_state_folder_gets_a_port_with_a_secret(
    api: ApiProcess, make_worker: Any, admin: AdminClient, tmp_path: Path
) -> None:
    worker = make_worker(api.url, folder=tmp_path / ("deep" * 25))
    await worker.start()
    await reaches(admin, "idle")
    assert (await worker.status())["state"] == "idle"
    file = worker.state_dir / "control.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = json.loads(file.read_text())
    reader, writer = await asyncio.open_connection("127.0.0.1", content["port"])
    writer.write(b'{"command": "stop", "token": "guess"}\n')
    answer = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    assert (answer["reached"], answer["status"]) == (False, None)
    assert (await worker.status())["drain"] is False
    assert (await worker.command("stop", "--wait")).code == 0
    assert not file.exists()


async def test_request_that_is_not_one(worker: Worker) -> None:
    reader, writer = await asyncio.open_unix_connection(worker.state_dir / "control.sock")
    writer.write(b"rm -rf\n")
    assert "could not be read" in json.loads(await reader.readline())["problem"]
    writer.close()
    await writer.wait_closed()
    assert (await worker.status())["state"] == "idle"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("maintenance", "on"), ("needs a comment", "--comments")),
        (("maintenance", "on", "-c", "  "), ("needs a comment", "--comments")),
        (("maintenance", "on", "-c", "x" * 1025), ("1,025 characters", "1,024")),
    ],
)
async def test_bad_input_is_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    one_line(await Worker(tmp_path, "http://127.0.0.1:1", "x").command(*arguments), 2, *parts)


@pytest.mark.parametrize(
    "arguments",
    [("maintenance",), ("maintenance", "maybe"), ("stop", "--wait", "--timeout", "0"), ("status", "-o", "x")],
)
async def test_wrong_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = await Worker(tmp_path, "http://127.0.0.1:1", "x").command(*arguments)
    assert result.code == 2
    assert "usage: edge-worker" in result.err


async def test_pid_file_has_to_match(worker: Worker, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.pid", tmp_path / "wrong.pid"
    right.write_text(f"{worker.agent.pid}\n")
    wrong.write_text("1\n")
    assert (await worker.command("status", "--pid", str(right))).code == 0
    one_line(await worker.command("stop", "--pid", str(wrong)), 3, "not 1 as in", str(wrong))
    one_line(await worker.command("stop", "--pid", str(tmp_path / "none")), 3, "cannot be read")
    assert (await worker.status())["drain"] is False
