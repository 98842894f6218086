"""`airflow edge …` as real processes against a real edge API and a real worker."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_testing.database.db import Db
from edge_testing.edge_api.admin import AdminClient
from edge_testing.edge_api.credentials import admin_credential
from edge_testing.edge_api.process import ApiProcess
from edge_testing.waiting import until
from edge_testing.workers.worker import Result, Tasks, Worker, reaches, run


class Airflow:
    """Run Airflow's command with its own settings."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.environ = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/unused.db",
            **{f"AIRFLOW__EDGE__{name.upper()}": value for name, value in settings.items()},
        }

    async def edge(self, *arguments: str, **environ: str) -> Result:
        program = str(Path(sys.executable).with_name("airflow"))
        return await run(program, "edge", *arguments, environ={**self.environ, **environ})

    async def done(self, *arguments: str, **environ: str) -> str:
        result = await self.edge(*arguments, **environ)
        assert result.code == 0, result
        return result.out


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Airflow for all tests, so that its command can be started warm."""
    return tmp_path_factory.mktemp("airflow")


@pytest.fixture
def airflow(api: ApiProcess, db: Db, home: Path) -> Airflow:
    return Airflow(home, admin_api_url=api.url, admin_token=admin_credential(db))


def one_line(result: Result, code: int, *parts: str) -> None:
    assert result.code == code, result
    last = result.err.strip().splitlines()
    assert len(last) == 1, result.err
    assert last[0].startswith("airflow edge: ")
    for part in parts:
        assert part in last[0]


async def test_list_in_every_format(airflow: Airflow, worker: Worker, admin: AdminClient) -> None:
    await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "new disk"})
    await reaches(admin, "maintenance mode")
    [found] = json.loads(await airflow.done("list-workers", "-o", "json"))
    assert found["worker_name"] == "w1"
    assert found["state"] == "maintenance mode"
    assert found["queues"] == ["default"]
    assert (found["jobs_active"], found["concurrency"], found["free_concurrency"]) == ("0", "8", "8")
    assert found["maintenance_comment"] == "new disk"
    assert found["cordon"] == "In maintenance by anna: new disk"
    assert yaml.safe_load(await airflow.done("list-workers", "-o", "yaml")) == [found]
    for output in ("table", "plain"):
        text = await airflow.done("list-workers", "-o", output)
        assert "worker_name" in text.splitlines()[0]
        assert "maintenance mode" in text


async def test_list_is_filtered(airflow: Airflow, worker: Worker, api: ApiProcess, make_worker: Any) -> None:
    other = make_worker(api.url, "plant-2", queues=["press"])
    await other.start()

    async def names(*filters: str) -> list[str]:
        found = json.loads(await airflow.done("list-workers", "-o", "json", *filters))
        return [each["worker_name"] for each in found]

    async def both() -> bool:
        return await names() == ["plant-2", "w1"]

    await until(both, "both workers are there")
    assert await names("--worker-name-pattern", "plant-*") == ["plant-2"]
    assert await names("--queues", "press,paint") == ["plant-2"]
    assert await names("--queues", "default") == ["w1"]
    assert await names("--state", "running", "maintenance_mode") == []


async def test_remote_maintenance_from_request_to_exit(airflow: Airflow, worker: Worker, admin: AdminClient) -> None:
    out = await airflow.done("remote-edge-worker-request-maintenance", "-H", "w1", "-c", "new disk")
    assert out.startswith("w1 has been put on maintenance by ")
    await reaches(admin, "maintenance mode")
    await airflow.done("remote-edge-worker-update-maintenance-comment", "-H", "w1", "-c", "two disks")
    assert (await admin.get("/workers/w1"))["maintenance"]["comment"] == "two disks"
    out = await airflow.done("remote-edge-worker-exit-maintenance", "-H", "w1")
    assert out.startswith("w1 has been removed from maintenance by ")
    await reaches(admin, "idle")
    one_line(
        await airflow.edge("remote-edge-worker-update-maintenance-comment", "-H", "w1", "-c", "x"),
        *(1, "not in maintenance"),
    )


async def test_queues_and_concurrency_change_without_a_restart(
    airflow: Airflow, worker: Worker, tasks: Tasks, db: Db
) -> None:
    pid = (await worker.status())["pid"]
    waits = tasks.queue("one", queue="paint", slots=9)
    await airflow.done("add-worker-queues", "-H", "w1", "-q", "paint,press")
    await airflow.done("set-worker-concurrency", "-H", "w1", "-c", "12")
    await tasks.begun("one")
    status = await worker.status()
    assert (status["queues"], status["concurrency"], status["free_slots"]) == (["default", "paint", "press"], 12, 3)
    await airflow.done("remove-worker-queues", "-H", "w1", "-q", "paint,default")

    async def served() -> bool:
        return bool((await worker.status())["queues"] == ["press"])

    await until(served, "the queues are removed")
    assert (await worker.status())["pid"] == pid
    tasks.let_go("one")
    await until(lambda: db.state(waits) == "succeeded", "a task goes on when its queue is removed")


async def test_remote_shutdown_and_removal(airflow: Airflow, worker: Worker, admin: AdminClient, tasks: Tasks) -> None:
    tasks.queue("one")
    await tasks.begun("one")
    await reaches(admin, "running")
    one_line(await airflow.edge("remove-remote-edge-worker", "-H", "w1"), 1, "Worker w1 is running")
    out = await airflow.done("shutdown-remote-edge-worker", "-H", "w1")
    assert out.startswith("Requested shutdown of Edge Worker host w1 by ")
    await reaches(admin, "terminating")
    tasks.let_go("one")
    assert await worker.agent.exit_code() == 0
    await reaches(admin, "offline")
    one_line(await airflow.edge("shutdown-remote-edge-worker", "-H", "w1"), 1, "nothing to shut down")
    await airflow.done("remove-remote-edge-worker", "-H", "w1")
    assert json.loads(await airflow.done("list-workers", "-o", "json")) == []
    one_line(await airflow.edge("remove-remote-edge-worker", "-H", "w1"), 1, "There is no worker w1")


async def test_shutdown_of_all(airflow: Airflow, worker: Worker, api: ApiProcess, make_worker: Any) -> None:
    other = make_worker(api.url, "w2")
    await other.start()
    one_line(await airflow.edge("shutdown-all-workers"), 1, "cancelled")

    async def both_there() -> bool:
        found = json.loads(await airflow.done("list-workers", "-o", "json", "-s", "idle"))
        return len(found) == 2

    await until(both_there, "both workers are idle")
    out = await airflow.done("shutdown-all-workers", "--yes")
    assert "Requested shutdown of 2 edge workers" in out
    assert (await worker.agent.exit_code(), await other.agent.exit_code()) == (0, 0)
    assert await airflow.done("shutdown-all-workers", "--yes") == "No edge workers to shut down.\n"


HOST = ("-H", "w1")


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("remote-edge-worker-request-maintenance", "-H", "nobody", "-c", "x"), 1, "There is no worker nobody"),
        (("remote-edge-worker-exit-maintenance", "-H", "../x"), 1, ""),
        (("remote-edge-worker-request-maintenance", *HOST, "-c", " "), 2, "needs a comment"),
        (("remote-edge-worker-request-maintenance", *HOST, "-c", "x" * 1025), 2, "1,025 characters"),
        (("add-worker-queues", *HOST, "-q", "q" * 257), 2, "257 characters; the maximum is 256"),
        (("remove-worker-queues", *HOST, "-q", ","), 2, "no queue is named"),
        (("set-worker-concurrency", *HOST, "-c", "0"), 2, "concurrency 0"),
        (("list-workers", "--state", "happy"), 2, "no worker state 'happy'"),
    ],
)
async def test_bad_input_is_one_clear_line(airflow: Airflow, arguments: tuple[str, ...], code: int, part: str) -> None:
    one_line(await airflow.edge(*arguments), code, part)


async def test_comment_is_required(airflow: Airflow) -> None:
    result = await airflow.edge("remote-edge-worker-request-maintenance", "-H", "w1")
    assert result.code == 2
    assert "--comments" in result.err


@pytest.mark.parametrize(
    ("settings", "code", "part"),
    [
        ({}, 2, "no edge API is set; set [edge] admin_api_url"),
        ({"admin_api_url": "http://127.0.0.1:1"}, 2, "no admin credential is set"),
        ({"admin_api_url": "pigeon://x", "admin_token": "x"}, 2, "not an http:// or https:// URL"),
        ({"admin_api_url": "http://127.0.0.1:1", "admin_token": "secret-thing"}, 1, "cannot be reached"),
        ({"admin_api_url": "http://127.0.0.1:1", "admin_token": "secret\nthing"}, 2, "is not a credential"),
        ({"admin_api_url": "http://127.0.0.1:1", "admin_token_file": "/nowhere"}, 2, "/nowhere cannot be read"),
    ],
)
async def test_settings_that_do_not_do(home: Path, settings: dict[str, str], code: int, part: str) -> None:
    result = await Airflow(home, **settings).edge("list-workers")
    one_line(result, code, part)
    assert "secret" not in result.err


async def test_credentials_from_file_and_command(api: ApiProcess, db: Db, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{admin_credential(db)}\n")
    for settings in ({"admin_token_file": str(file)}, {"admin_token_cmd": f"cat {file}"}):
        # The API path, which users of the edge3 provider append to the URL, is accepted.
        url = f"{api.url}/edge_worker/v1/rpcapi"
        airflow = Airflow(home, admin_api_url=url, **settings)
        assert json.loads(await airflow.done("list-workers", "-o", "json")) == []


async def test_credential_that_may_not_write(api: ApiProcess, db: Db, home: Path) -> None:
    airflow = Airflow(home, admin_api_url=api.url, admin_token=admin_credential(db, "read"))
    assert json.loads(await airflow.done("list-workers", "-o", "json")) == []
    one_line(await airflow.edge("set-worker-concurrency", "-H", "w1", "-c", "1"), 1, "read allows only GET")
    revoked = Airflow(home, admin_api_url=api.url, admin_token="nonsense")
    one_line(await revoked.edge("list-workers"), 1, "not an admin credential")


async def test_local_commands_go_to_the_worker(airflow: Airflow, worker: Worker, admin: AdminClient) -> None:
    here = {"EDGE_WORKER_STATE_DIR": str(worker.state_dir)}
    status = json.loads(await airflow.done("status", **here))
    assert (status["name"], status["state"], status["job_count"]) == ("w1", "idle", 0)
    status = json.loads(await airflow.done("maintenance", "on", "-c", "new disk", "--wait", **here))
    assert (status["state"], status["maintenance_comments"]) == ("maintenance mode", "new disk")
    await reaches(admin, "maintenance mode")
    assert "\tidle" in await airflow.done("maintenance", "off", "--wait", "-o", "plain", **here)
    result = await airflow.edge("maintenance", "on", **here)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert await airflow.done("stop", "--wait", **here) == "w1 has stopped\n"
    assert await worker.agent.exit_code() == 0
    assert (await airflow.edge("status", **here)).code == 3


async def test_worker_in_the_background(
    airflow: Airflow, make_worker: Any, api: ApiProcess, admin: AdminClient, tmp_path: Path
) -> None:
    worker = make_worker("http://127.0.0.1:1")
    pid_file = tmp_path / "worker.pid"
    airflow.environ |= {
        "AIRFLOW__EDGE__API_URL": f"{api.url}/edge_worker/v1/rpcapi",
        "AIRFLOW__EDGE__WORKER_CONCURRENCY": "3",
        "EDGE_WORKER_STATE_DIR": str(worker.state_dir),
    }
    files = (
        "--stdout",
        str(tmp_path / "out"),
        "--stderr",
        str(worker.log),
        "--log-file",
        str(tmp_path / "airflow.log"),
    )
    await airflow.done("worker", "-H", "w1", "--daemon", "--pid", str(pid_file), *files)
    shown = await reaches(admin, "idle")
    assert shown["concurrency"] == 3
    status = json.loads(await airflow.done("status", "--pid", str(pid_file), "-H", "w1"))
    assert str(status["pid"]) == pid_file.read_text().strip()
    await airflow.done("stop", "--wait", "--pid", str(pid_file), "-H", "w1")
    await reaches(admin, "offline")


async def test_worker_of_another_team_does_not_start(airflow: Airflow, make_worker: Any, tmp_path: Path) -> None:
    worker = make_worker("http://127.0.0.1:1")
    pid_file = tmp_path / "worker.pid"
    result = await airflow.edge(
        *("worker", "--edge-hostname", "w1", "--team-name", "blue", "--pid", str(pid_file)),
        EDGE_WORKER_STATE_DIR=str(worker.state_dir),
    )
    assert result.code == 2
    assert "belongs to no team, not to team 'blue'" in result.err
    assert int(pid_file.read_text()) != os.getpid()
