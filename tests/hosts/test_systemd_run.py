"""docs/bare-host-systemd.md, command by command: a real systemd, a real worker, a real edge API."""

import json
import secrets
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from edge_images.commands import UnavailableError
from edge_testing.cluster.companions import SYSTEMD_IMAGE, build_systemd_image
from edge_testing.database.db import Db
from edge_testing.edge_api.commands import edge_api, join_token
from edge_testing.edge_api.process import ApiProcess
from edge_testing.hosts.compose_project import DAGS
from edge_testing.hosts.control_plane import found, joined
from edge_testing.hosts.execution_api import ExecutionApi
from edge_testing.hosts.systemd_host import SystemdHost, guide
from edge_testing.programs.packages import install_podman_packages
from edge_testing.skipping import cannot_run
from edge_testing.waiting import until
from edge_testing.workers.workload import task_job

WORKER = "plant-7"
OTHER = "plant-8"
LONELY = "plant-9"
GIVEN_UP_S = 90
"""A worker that is not enrolled tries to reach the edge API for a minute."""

FREE_S = 60
"""A worker's name is free after three heartbeat intervals of ten seconds."""

pytestmark = pytest.mark.timeout(1200)
"""For the test that is the first to need the image."""


@pytest.fixture(scope="module")
def image() -> str:
    try:
        install_podman_packages()
        build_systemd_image(SYSTEMD_IMAGE)
    except UnavailableError as error:
        cannot_run(error)
    return SYSTEMD_IMAGE


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dags")
    folder.chmod(0o755)
    shutil.copy(DAGS / "d.py", folder)
    return folder


@pytest.fixture(scope="module")
def host(image: str, dags: Path, wheels: Path) -> Iterator[SystemdHost]:
    made = SystemdHost(f"plant-{secrets.token_hex(3)}", image, dags, wheels)
    try:
        made.boot()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def address(host: SystemdHost) -> str:
    return host.address


def install(host: SystemdHost, api: ApiProcess) -> None:
    """Follow the guide."""
    bounds = shlex.split(guide("--name-pattern plant-7 --queues press --uses 1"))
    host.shell("cat > token", stdin=join_token(api.database, *bounds))
    options = "--name plant-7 --queues press --wheels wheels --join-token-file token"
    command = guide(f"./install.sh install --api-url https://airflow.example.com {options}")
    plain = command.replace("https://airflow.example.com", f"http://{host.address}:{api.port}")
    said = host.shell(f"{plain} --allow-plain-http")
    assert f"Worker {WORKER} is enrolled." in said
    host.shell("rm token")
    # A short kill grace, so that no test waits for a task to stop.
    settings = f"EDGE_WORKER_KILL_GRACE_S=1\n{guide('AIRFLOW__CORE__DAGS_FOLDER=/srv/dags')}\n"
    host.shell("cat >> /etc/airflow-edge/plant-7.env", stdin=settings)
    host.shell(guide("systemctl restart edge-worker@plant-7"))


def set_up(host: SystemdHost, worker: str, api_url: str) -> None:
    """Add another worker, which uses the programs of the first."""
    settings = f"EDGE_WORKER_API_URL={api_url}\nEDGE_WORKER_ALLOW_PLAIN_HTTP=true\n"
    host.shell(f"cat > /etc/airflow-edge/{worker}.env", stdin=settings)


def give_token(host: SystemdHost, worker: str, token: str) -> None:
    guide("/etc/airflow-edge/plant-7.token")
    host.shell(f"umask 077; cat > /etc/airflow-edge/{worker}.token", stdin=f"{token}\n")


@pytest.fixture
async def started(host: SystemdHost, api: ApiProcess, db: Db) -> SystemdHost:
    """The host with its running worker, set up and enrolled as in the guide."""
    if host.run("command -v edge-worker").returncode:
        up = ("running", "degraded")
        await until(lambda: host.run("systemctl is-system-running").stdout.strip() in up, "the host is up")
        install(host, api)
        # It has given up once by the time its test runs.
        set_up(host, LONELY, "http://127.0.0.1:1")
        give_token(host, LONELY, "a-token")
        host.shell(f"systemctl start edge-worker@{LONELY}")
    host.shell(guide("systemctl start edge-worker@plant-7"))
    await joined(db, WORKER)
    return host


async def ended(host: SystemdHost, worker: str) -> list[str]:
    """Wait until a worker's service has ended, and return its result."""
    await until(lambda: host.show(worker, "ActiveState")[0] in ("inactive", "failed"), "it has ended")
    return host.show(worker, "Result", "ExecMainStatus")


async def runs(db: Db, task: str) -> UUID:
    (job,) = db.enqueue(queue="press", **task_job(task))
    await until(lambda: db.state(job) == "running", "the task runs", 60)
    return job


async def test_it_runs_has_joined_and_says_so(started: SystemdHost, db: Db) -> None:
    assert started.show(WORKER, "ActiveState", "SubState", "UnitFileState") == ["active", "running", "enabled"]
    status = json.loads(started.shell(guide("edge-worker status --name plant-7") + " --output json"))
    assert (status["name"], status["state"], status["connected"]) == (WORKER, "idle", True)
    assert len(db.rows(f"SELECT 1 FROM edge.credential WHERE worker_name = '{WORKER}'")) == 1


async def test_a_task_runs_and_finds_itself_locked_in(started: SystemdHost, db: Db, execution: ExecutionApi) -> None:
    started.shell("touch /tmp/of-the-host")
    user = int(started.shell("id --user airflow-edge"))
    jobs = [db.enqueue(queue="press", **task_job(task))[0] for task in ("look", "reach")]
    ends = {"succeeded", "failed"}
    await until(lambda: {db.state(job) for job in jobs} <= ends, "the tasks have ended", 60)
    assert ([db.state(job) for job in jobs], execution.states) == (["succeeded"] * 2, ["success"] * 2)
    assert await found(db, jobs[0]) == {
        "uid": user,
        "capabilities": ["0" * 16],
        "no_new_privileges": "1",
        "read_only": ["/", "/opt", "/srv/dags"],
        "writable": ["/tmp", "/var/lib/airflow-edge/plant-7"],  # noqa: S108
    }
    assert await found(db, jobs[1]) == {
        "write to /usr": "EROFS",
        "write to /etc": "EROFS",
        "write to /dev": "EROFS",
        "write to control groups": "EROFS",
        "look into /home": "EACCES",
        "look at a file in the host's /tmp": "ENOENT",
        "set a SUID bit": "EPERM",
        "talk to a network card": "EAFNOSUPPORT",
        "exit code of unshare": 1,
        "signal systemd": "EPERM",
        "read systemd's environment": "EACCES",
    }


async def test_maintenance(started: SystemdHost, db: Db) -> None:
    started.shell(guide("edge-worker maintenance on --name plant-7 --comments 'new disk' --wait"))
    (desired,) = db.rows(f"SELECT * FROM edge.worker_desired WHERE worker_name = '{WORKER}'")
    assert (desired.maintenance, desired.maintenance_comment) == (True, "new disk")
    started.shell("edge-worker maintenance off --name plant-7 --wait")


async def test_a_stop_waits_for_the_task(started: SystemdHost, dags: Path, db: Db) -> None:
    job = await runs(db, "hold")
    with started.start(guide("systemctl stop edge-worker@plant-7")) as stop:
        try:
            await until(lambda: db.worker(WORKER).terminating, "it drains")
            assert db.state(job) == "running"
        finally:
            (dags / "go").touch()
    (dags / "go").unlink()
    assert stop.returncode == 0
    assert db.state(job) == "succeeded"
    assert await ended(started, WORKER) == ["success", "0"]


async def test_the_next_start_needs_no_token_and_a_second_signal_skips_the_wait(started: SystemdHost, db: Db) -> None:
    job = await runs(db, "hold")
    with started.start(guide("systemctl stop edge-worker@plant-7")) as stop:
        await until(lambda: db.worker(WORKER).terminating, "it drains")
        started.shell(guide("systemctl kill --kill-whom=main -s TERM edge-worker@plant-7"))
    assert stop.returncode == 0
    assert (db.state(job), db.job(job).error) == ("failed", "stopped by worker shutdown after drain timeout")
    assert await ended(started, WORKER) == ["success", "0"]


async def test_killed_it_is_started_again_and_its_task_is_lost(started: SystemdHost, db: Db) -> None:
    job, before = await runs(db, "hold"), db.worker(WORKER)
    started.shell("systemctl kill --kill-whom=main -s KILL edge-worker@plant-7")
    after = await joined(db, WORKER, after=before)
    assert after.identity == before.identity
    # Either the task's supervisor or the next agent reports it.
    assert (db.state(job), db.job(job).error) in (
        ("failed", "the edge worker was stopped while the task ran"),
        ("lost", f"edge worker {WORKER} restarted without the task"),
    )
    assert started.show(WORKER, "ActiveState", "NRestarts") == ["active", "1"]


async def test_shut_down_from_afar_it_stays_down(started: SystemdHost, db: Db) -> None:
    db.set_desired(WORKER, shutdown=True)
    assert await ended(started, WORKER) == ["success", "0"]


async def test_a_wrong_token_ends_it_with_one_line(started: SystemdHost, api: ApiProcess) -> None:
    set_up(started, OTHER, f"http://{started.address}:{api.port}")
    give_token(started, OTHER, "wrong")
    started.shell(f"systemctl enable --now edge-worker@{OTHER}")
    assert await ended(started, OTHER) == ["exit-code", "2"]
    assert started.show(OTHER, "NRestarts") == ["0"]
    assert started.journal(OTHER) == [
        "edge-worker: enrolment refused: This is not a join token. Ask for a new one: edge-api token create."
    ]


async def test_an_edge_api_that_is_away_is_waited_for(started: SystemdHost, api: ApiProcess, db: Db) -> None:
    give_token(started, OTHER, join_token(api.database, "--name-pattern", OTHER, "--uses", "1"))
    api.stop()
    started.shell(f"systemctl start edge-worker@{OTHER}")
    await until(lambda: "trying again" in started.journal(OTHER)[-1], "it waits")
    api.start()
    api.wait_ready()
    await joined(db, OTHER)


async def test_revoked_it_stays_down(started: SystemdHost, api: ApiProcess) -> None:
    assert edge_api(api.database, "worker", "revoke", OTHER).returncode == 0
    assert await ended(started, OTHER) == ["exit-code", "3"]
    assert started.journal(OTHER)[-1].endswith("; enrol this worker again with a new join token: edge-worker enroll")


async def test_an_upgrade(started: SystemdHost, db: Db) -> None:
    before = db.worker(WORKER)
    assert "enrolled already" in started.shell(f"./{guide('install.sh install --name plant-7 --wheels wheels')}")
    started.shell(guide("systemctl restart edge-worker@plant-7"))
    after = await joined(db, WORKER, after=before)
    assert after.identity == before.identity


async def test_revoked_it_enrols_again_once_its_name_is_free(started: SystemdHost, api: ApiProcess, db: Db) -> None:
    await until(lambda: db.worker(OTHER).lost, "the platform does not wait for it any more", FREE_S)
    before = db.worker(OTHER)
    started.shell(guide("rm /var/lib/airflow-edge/plant-7/credential.json").replace(WORKER, OTHER))
    give_token(started, OTHER, join_token(api.database, "--name-pattern", OTHER, "--uses", "1"))
    started.shell(f"systemctl start edge-worker@{OTHER}")
    assert (await joined(db, OTHER, after=before)).identity != before.identity


async def test_where_no_edge_api_answers_systemd_tries_again(started: SystemdHost) -> None:
    given_up = ["auto-restart", "exit-code", "1"]
    now = ("SubState", "Result", "ExecMainStatus")
    await until(lambda: started.show(LONELY, *now) == given_up, "it is about to be started again", GIVEN_UP_S)


async def test_a_reboot_waits_for_the_task_and_starts_the_worker(started: SystemdHost, dags: Path, db: Db) -> None:
    job, before = await runs(db, "hold"), db.worker(WORKER)
    with started.reboot() as reboot:
        try:
            await until(lambda: db.worker(WORKER).terminating, "it drains")
            assert db.state(job) == "running"
        finally:
            (dags / "go").touch()
    assert reboot.returncode == 0
    assert db.state(job) == "succeeded"
    after = await joined(db, WORKER, after=before)
    assert after.identity == before.identity


async def test_remove(started: SystemdHost, db: Db) -> None:
    uninstall = guide("install.sh uninstall --name plant-7")
    started.shell(f"./{uninstall}")
    assert await ended(started, WORKER) == ["success", "0"]
    assert started.show(WORKER, "UnitFileState") == ["disabled"]
    assert db.worker(WORKER).offline
    started.shell("test -s /etc/airflow-edge/plant-7.env && test -s /var/lib/airflow-edge/plant-7/credential.json")
    for worker in (WORKER, OTHER, LONELY):
        started.shell(f"./{uninstall.replace(WORKER, worker)} {guide('--purge')}")
    places = "/etc /opt /run/systemd /usr/local /var/lib"
    left = started.shell(f"find {places} -name '*edge-worker*' -o -name '*airflow-edge*' -o -name 'plant-?*'")
    assert left.splitlines() == []
    assert started.shell("systemctl --all --plain --no-legend list-units 'edge-worker@*'") == ""
    started.shell("id airflow-edge")
