"""install.sh below a scratch root, with a real edge API; systemd starts nothing there."""

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_testing.database.db import Db
from edge_testing.edge_api.commands import join_token
from edge_testing.edge_api.process import ApiProcess
from edge_testing.hosts.programs import AgentPrograms
from edge_testing.hosts.unit_file import SYSTEMD, environment, read_unit
from edge_testing.skipping import cannot_run
from edge_testing.waiting import until

USER = pwd.getpwuid(os.getuid()).pw_name
WANTED_BY = "etc/systemd/system/multi-user.target.wants"


@pytest.fixture(scope="module")
def api(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with ApiProcess(module_database, tmp_path_factory.mktemp("hosts") / "api.log") as process:
        yield process


class Host:
    """A scratch root with the installer for it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *arguments: str, token: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the installer with these environment variables."""
        command = ["sh", str(SYSTEMD / "install.sh"), *arguments]
        environ = {**os.environ, "DESTDIR": str(self.root), **variables}
        return subprocess.run(
            command, env=environ, input=f"{token}\n", capture_output=True, text=True, check=False, timeout=240
        )

    def try_install(
        self, name: str, *arguments: str, token: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the installer for this user, since creating users needs a host of its own."""
        fixed = ("--name", name, "--user", USER, "--python", sys.executable)
        return self.run("install", *fixed, *arguments, token=token, **variables)

    def install(self, name: str, *arguments: str, token: str = "", **variables: str) -> str:
        done = self.try_install(name, *arguments, token=token, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def mode(self, path: str) -> int:
        return stat.S_IMODE((self.root / path).stat().st_mode)

    def has(self, path: str) -> bool:
        return os.path.lexists(self.root / path)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, programs: AgentPrograms) -> Host:
    """A host on which the programs are installed once; each test has its own worker there."""
    if shutil.which("systemctl") is None:
        cannot_run("needs systemctl: apt-get install systemd")
    host = Host(tmp_path_factory.mktemp("host"))
    # Neither an index nor another folder is used, whatever pip is configured for.
    foreign = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_FIND_LINKS": str(host.root / "nowhere")}
    host.install("first", "--api-url", "http://127.0.0.1:1", "--wheels", str(programs.wheels), **foreign)
    return host


def test_installs_enrols_and_says_what_is_next(first: Host, api: ApiProcess, db: Db) -> None:
    token = join_token(api.database, "--name-pattern", "plant-7", "--queues", "press,paint", "--uses", "1")
    options = ("--api-url", api.url, "--queues", "press", "--drain-timeout", "60", "--join-token-file", "-")
    said = first.install("plant-7", *options, token=token)
    (row,) = db.rows("SELECT queues FROM edge.credential WHERE worker_name = 'plant-7'")
    assert row.queues == ["press"]
    assert token not in said
    assert "systemctl restart edge-worker@plant-7" in said
    assert "edge-worker status --name plant-7" in said
    assert first.mode("etc/airflow-edge/plant-7.env") == 0o640
    assert first.mode("var/lib/airflow-edge/plant-7") == 0o700
    assert first.mode("var/lib/airflow-edge/plant-7/credential.json") == 0o600
    settings = (first.root / "etc/airflow-edge/plant-7.env").read_text().splitlines()
    assert {f"EDGE_WORKER_API_URL={api.url}", "EDGE_WORKER_QUEUES=press"} <= set(settings)
    assert "EDGE_WORKER_DRAIN_TIMEOUT_S=60" in settings
    drain = first.root / "etc/systemd/system/edge-worker@plant-7.service.d/drain.conf"
    assert drain.read_text() == "[Service]\nTimeoutStopSec=160\n"
    assert first.has(f"{WANTED_BY}/edge-worker@plant-7.service")
    assert first.has("usr/local/bin/edge-worker")


async def test_the_unit_starts_a_worker_that_joins_and_drains(first: Host, api: ApiProcess, db: Db) -> None:
    token = join_token(api.database, "--name-pattern", "plant-8", "--uses", "1")
    first.install("plant-8", "--api-url", api.url, "--join-token-file", "-", token=token)
    unit = read_unit(first.root / "etc/systemd/system/edge-worker@.service")
    assert unit["Service"]["User"] == [USER]
    program, *arguments = unit["Service"]["ExecStart"][0].split()
    assert program == "/opt/airflow-edge/bin/edge-worker"
    # The token is used up and its file deleted: systemd passes an empty credential.
    credentials = first.root / "run"
    credentials.mkdir()
    (credentials / "join-token").write_text("\n")
    arguments = [each.replace("${CREDENTIALS_DIRECTORY}", str(credentials)) for each in arguments]
    # The programs of this environment: they have the Task SDK.
    environ = {**environment(unit, "plant-8", first.root), "PATH": os.environ["PATH"]}
    state = Path(environ["EDGE_WORKER_STATE_DIR"])
    worker = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("edge-worker"), *arguments, env=environ, cwd=state
    )
    try:
        await until(
            lambda: db.rows("SELECT 1 FROM edge.worker WHERE name = 'plant-8' AND initialised"), "it has joined", 60
        )
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(worker.wait(), 60) == 0
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    assert db.worker("plant-8").offline
    assert (state / "airflow").is_dir()


def test_repeated_it_changes_nothing(first: Host, api: ApiProcess, db: Db) -> None:
    token = join_token(api.database, "--name-pattern", "plant-9", "--uses", "1")
    first.install("plant-9", "--api-url", api.url, "--join-token-file", "-", token=token)
    settings = first.root / "etc/airflow-edge/plant-9.env"
    settings.write_text(settings.read_text() + "AIRFLOW__CORE__DAGS_FOLDER=/srv/dags\n")
    before = settings.read_text()
    said = first.install("plant-9", "--join-token-file", "-", token=token)
    assert "enrolled already" in said
    assert "stay as they are" in said
    assert settings.read_text() == before
    assert len(db.rows("SELECT 1 FROM edge.credential WHERE worker_name = 'plant-9'")) == 1


def test_a_refused_token_leaves_a_host_that_can_be_completed(first: Host, api: ApiProcess) -> None:
    token = join_token(api.database, "--name-pattern", "other-*")
    done = first.try_install("plant-3", "--api-url", api.url, "--join-token-file", "-", token=token)
    assert done.returncode == 2
    assert "other-*" in done.stderr
    assert "the worker could not enrol" in done.stderr.splitlines()[-1]
    assert not first.has(f"{WANTED_BY}/edge-worker@plant-3.service")
    good = join_token(api.database, "--name-pattern", "plant-3")
    first.install("plant-3", "--join-token-file", "-", token=good)
    assert first.has(f"{WANTED_BY}/edge-worker@plant-3.service")


def test_without_a_token_it_says_how_to_enrol(first: Host) -> None:
    said = first.install("plant-4", "--api-url", "http://127.0.0.1:1")
    assert "edge-api token create --name-pattern plant-4" in said
    assert not first.has(f"{WANTED_BY}/edge-worker@plant-4.service")


def test_a_requirements_file_with_hashes_is_the_other_source(tmp_path: Path, programs: AgentPrograms) -> None:
    """The hash decides, wherever pip finds the file; what has no hash is not installed."""
    host = Host(tmp_path / "host")
    source = ("--api-url", "http://127.0.0.1:1", "--requirements", str(programs.requirements))
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(programs.wheels)}
    with_names = tmp_path / "names.txt"
    with_names.write_text("airflow-edge-worker\n")
    done = host.try_install("plant-1", *source[:-1], str(with_names), **index)
    assert done.returncode == 1
    assert "--require-hashes" in done.stderr
    assert not host.has("opt/airflow-edge/bin/edge-worker")
    assert not host.has("etc/airflow-edge")
    host.install("plant-1", *source, **index)
    assert host.has("opt/airflow-edge/bin/edge-worker")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "install --api-url URL"),
        (("instal",), "unknown command instal"),
        (("install", "--name", "x"), "--api-url is missing"),
        (("install", "--api-url"), "--api-url needs a value"),
        (("install", "--name", "../x", "--api-url", "u"), "is not a valid name"),
        (("install", "--name", "x|y", "--api-url", "u"), "is not a valid name"),
        (("install", "--drain-timeout", "1h", "--api-url", "u"), "not a number of seconds"),
        (("install", "--quick", "yes"), "unknown option --quick"),
        (("install", "--api-url", "u", "--python", "/nowhere/python"), "not Python 3.11"),
        # Whoever registers a name at an index would own the host.
        (("install", "--api-url", "u", "--package", "airflow-edge-worker"), "unknown option --package"),
        (("install", "--api-url", "u", "--index-url", "u"), "unknown option --index-url"),
        (("install", "--api-url", "u"), "--wheels is missing"),
        (("install", "--api-url", "u", "--wheels", "/nowhere"), "'/nowhere' has no wheel of airflow-edge-worker"),
        (("install", "--api-url", "u", "--requirements", "/nowhere"), "'/nowhere' is not a file"),
        (("install", "--api-url", "u", "--wheels", "/w", "--requirements", "/r"), "exclude each other"),
    ],
)
def test_bad_input(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = Host(tmp_path).run(*arguments)
    assert done.returncode in (1, 2)
    assert said in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_uninstall(tmp_path: Path, first: Host) -> None:
    host = Host(tmp_path / "host")
    # Links stand in for the programs, since this is about files that stay or are deleted.
    shutil.copytree(first.root / "etc", host.root / "etc", symlinks=True)
    (host.root / "opt/airflow-edge/bin").mkdir(parents=True)
    for name in ("last", "other"):
        (host.root / f"var/lib/airflow-edge/{name}").mkdir(parents=True)
    for path in (host.root / "etc/airflow-edge").iterdir():
        path.unlink()
    for name in ("last", "other"):
        (host.root / f"etc/airflow-edge/{name}.env").write_text("EDGE_WORKER_API_URL=http://x\n")
    done = host.run("uninstall", "--name", "other")
    assert (done.returncode, "--purge" in done.stdout) == (0, True)
    assert host.has("var/lib/airflow-edge/other")
    assert "edge-api worker revoke other" in done.stdout
    assert host.run("uninstall", "--name", "other", "--purge").returncode == 0
    assert not host.has("var/lib/airflow-edge/other")
    assert host.has("opt/airflow-edge/bin")
    assert host.has("etc/airflow-edge/last.env")
    assert host.run("uninstall", "--name", "last", "--purge").returncode == 0
    left = [path for path in ("opt/airflow-edge", "etc/airflow-edge", "var/lib/airflow-edge") if host.has(path)]
    assert left == []
    assert not host.has("etc/systemd/system/edge-worker@.service")
