"""docs/bare-host-compose.md, command by command: a real engine, a real worker, a real edge API."""

import json
import re
import secrets
from collections.abc import Iterator

import pytest

from edge_images.build import build
from edge_images.commands import UnavailableError
from edge_testing.database.db import Db
from edge_testing.edge_api.commands import join_token
from edge_testing.edge_api.process import ApiProcess
from edge_testing.hosts.compose_project import Project
from edge_testing.hosts.control_plane import found, joined
from edge_testing.hosts.execution_api import ExecutionApi
from edge_testing.programs.packages import install_container_packages
from edge_testing.skipping import cannot_run
from edge_testing.waiting import until
from edge_testing.workers.workload import task_job

WORKER = "plant-7"

pytestmark = pytest.mark.timeout(1200)
"""For the test that is the first to need the image."""


@pytest.fixture(scope="module")
def image() -> str:
    """The worker's image, built now, under the end-to-end suite's name so that layers are built once."""
    try:
        install_container_packages()
        return build("localhost", "e2e", ["worker"])["worker"]
    except UnavailableError as error:
        cannot_run(error)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("compose") / f"plant-{secrets.token_hex(3)}", image)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def address(project: Project) -> str:
    return project.host


@pytest.fixture
async def started(project: Project, api: ApiProcess, db: Db) -> Project:
    """The project with its running worker, set up and enrolled as in the guide."""
    if not project.container():
        token = join_token(api.database, "--name-pattern", WORKER, "--uses", "1")
        api_url = f"http://{project.host}:{api.port}"
        project.prepare(token, {"https://airflow.example.com": f"{api_url}\nEDGE_WORKER_ALLOW_PLAIN_HTTP=true"})
    project.guide("docker compose up --detach --wait")
    await joined(db, WORKER)
    return project


async def test_it_has_joined_and_says_so(started: Project, db: Db) -> None:
    status = json.loads(started.guide("docker compose exec worker edge-worker status", "--output", "json"))
    assert (status["name"], status["state"], status["connected"]) == (WORKER, "idle", True)
    assert len(db.rows(f"SELECT 1 FROM edge.credential WHERE worker_name = '{WORKER}'")) == 1


async def test_the_engine_has_the_health_check_and_finds_it_healthy(started: Project) -> None:
    await until(started.healthy, "it is healthy")


async def test_a_task_runs_and_finds_itself_locked_in(started: Project, db: Db, execution: ExecutionApi) -> None:
    (job,) = db.enqueue(**task_job("look"))
    await until(lambda: db.state(job) in ("succeeded", "failed"), "the task has ended", 60)
    assert (db.state(job), execution.states) == ("succeeded", ["success"])
    assert await found(db, job) == {
        "uid": 50000,
        "capabilities": ["0" * 16],
        "no_new_privileges": "1",
        "read_only": ["/", "/opt", "/srv/dags"],
        "writable": ["/tmp", "/home/edge"],  # noqa: S108
    }


async def test_maintenance(started: Project, db: Db) -> None:
    started.guide("docker compose exec worker edge-worker maintenance on --comments 'new disk' --wait")
    (desired,) = db.rows("SELECT * FROM edge.worker_desired")
    assert (desired.maintenance, desired.maintenance_comment) == (True, "new disk")
    started.compose("exec", "worker", "edge-worker", "maintenance", "off", "--wait")


async def drains_during(command: str, project: Project, db: Db) -> None:
    """Run the command while a task runs, and check that it waits for the task."""
    go = project.folder / "dags" / "go"
    go.unlink(missing_ok=True)
    (job,) = db.enqueue(**task_job("hold"))
    await until(lambda: db.state(job) == "running", "the task runs", 60)
    with project.start(command) as running:
        try:
            await until(lambda: db.worker(WORKER).terminating, "it drains")
            assert db.state(job) == "running"
        finally:
            go.touch()
    assert running.returncode == 0, (project.folder / "compose.log").read_text()
    assert db.state(job) == "succeeded"


async def test_a_stop_waits_for_the_task(started: Project, db: Db) -> None:
    await drains_during("docker compose stop", started, db)
    assert db.worker(WORKER).offline
    assert started.exit_code() == 0


async def test_the_next_start_needs_no_token(started: Project, db: Db) -> None:
    before = db.worker(WORKER)
    started.shell(": > join-token")
    started.guide("docker compose stop")
    started.guide("docker compose up --detach")
    after = await joined(db, WORKER)
    assert after.identity == before.identity
    assert after.instance != before.instance


async def test_an_upgrade_drains_the_old_container_and_starts_a_new_one(started: Project, db: Db) -> None:
    before, container = db.worker(WORKER), started.container()
    with (started.folder / "worker.env").open("a") as settings:
        settings.write("EDGE_WORKER_CONCURRENCY=3\n")
    await drains_during("docker compose up --detach --force-recreate", started, db)
    after = await joined(db, WORKER)
    assert started.container() != container
    assert (after.identity, after.concurrency) == (before.identity, 3)


async def test_remove_leaves_nothing(started: Project) -> None:
    started.guide("docker compose down --volumes")
    assert started.container() == ""
    assert re.findall(f"^{started.name}", started.engine("volume", "ls", "--format", "{{.Name}}"), re.MULTILINE) == []
