"""The platform of the campaign: each way between its parts leads through something that can be broken."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from sqlalchemy.engine import make_url

from edge_demo.environment import LOCALHOST
from edge_demo.platform import Platform, PlatformSpec, WorkerSpec
from edge_demo.processes import ManagedProcess
from edge_images.commands import UnavailableError
from edge_testing.faults.plan import EDGE_APIS, OWN_CLOCK, SMALL_DISK, WORKERS, Work, api_of, worker_name
from edge_testing.programs.binaries import debian_package
from edge_testing.relay import Relay

DAGS = Path(__file__).parent / "dags"
DAG_ID = "campaign"
SLOTS = 4
DISK_BYTES = 64 << 20

AIRFLOW = {
    # A scheduler takes over after a crash within seconds instead of minutes, but not during an outage of 20 s.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "25",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
}
WORKER = {
    # By default Airflow's supervisor gives up its call, and the task, after five attempts, which may take 5 s only.
    "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "30",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "5",
}


class Site(Platform):
    """Two edge APIs, each with a relay to PostgreSQL; four workers, each with a relay to its edge API."""

    def __init__(self, folder: Path, work: Work, say: Callable[[str], None]) -> None:
        self.executions = folder / "executions"
        self.clock = folder / "clock"
        self.disk = folder / worker_name(SMALL_DISK)
        self.missing: list[str] = []
        """What this machine cannot break, and why."""
        self._marks = {"CAMPAIGN_FOLDER": str(folder), "CAMPAIGN_WORK": json.dumps(vars(work))}
        self._wiring = ExitStack()
        self.relays: dict[str, Relay] = {}
        workers = [
            WorkerSpec(
                worker_name(number),
                concurrency=SLOTS,
                api=api_of(number),
                env={**self._marks, **WORKER, "CAMPAIGN_WORKER": worker_name(number)},
            )
            for number in range(WORKERS)
        ]
        airflow = {**self._marks, **AIRFLOW, "CAMPAIGN_WORKER": ""}
        spec = PlatformSpec(DAGS, workers, edge_apis=EDGE_APIS, airflow_env=airflow, edge_api_env=self._marks)
        super().__init__(folder, spec, say)

    def __enter__(self) -> Self:
        self.executions.mkdir(parents=True)
        self.clock.write_text("+0")
        self.folder.chmod(0o755)
        try:
            self._mount_small_disk()
            return super().__enter__()
        except BaseException:
            self._wiring.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._wiring.close()

    def _mount_small_disk(self) -> None:
        self.disk.mkdir()
        if os.geteuid() != 0:
            self.missing.append("a full disk needs root, to mount a small one")
            return
        options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs"]
        subprocess.run(["mount", *options, str(self.disk)], check=True)
        self._wiring.callback(subprocess.run, ["umount", "--lazy", str(self.disk)], check=False)

    def _relay(self, name: str, target: int | Path) -> Relay:
        if name not in self.relays:
            self.relays[name] = self._wiring.enter_context(Relay(target))
        return self.relays[name]

    def _edge_api_env(self, url: str) -> dict[str, str]:
        database = make_url(self.database_url)
        socket = Path(str(database.query["host"])) / ".s.PGSQL.5432"
        relay = self._relay(f"edge-api-{self.edge_api_urls.index(url)}", socket)
        relayed = database.set(host=LOCALHOST, port=relay.port, query={})
        return super()._edge_api_env(url) | {"EDGE_API_DATABASE_URL": relayed.render_as_string(hide_password=False)}

    def _add(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> ManagedProcess:
        if "EDGE_WORKER_API_URL" in env:
            port = int(env["EDGE_WORKER_API_URL"].rsplit(":", 1)[1])
            env = {**env, "EDGE_WORKER_API_URL": f"http://{LOCALHOST}:{self._relay(name, port).port}"}
        if name == worker_name(OWN_CLOCK) and (library := self._clock_library()):
            command = [sys.executable, "-m", "edge_testing.faults.agent_with_own_clock", *command[1:]]
            env = {
                **env,
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        return super()._add(name, command, env)

    def owns(self, process: psutil.Process) -> bool:
        """Return whether a process belongs to this site: all are started in its folder. A zombie does not say.

        Their environment is no mark: a process of Airflow that sets its title writes over it.
        """
        return process.cwd() == str(self.folder)

    def processes_left(self) -> list[psutil.Process]:
        """Return all processes of this machine that belong to this site."""
        left = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if self.owns(process):
                    left.append(process)
        return left

    def _clock_library(self) -> Path | None:
        if not shutil.which("apt-get"):
            self.missing.append("a clock cannot jump: libfaketime is a package of Debian")
            return None
        try:
            folder = debian_package("libfaketime")
        except UnavailableError as error:
            self.missing.append(f"a clock cannot jump: {error}")
            return None
        return next(folder.rglob("libfaketimeMT.so.1"))


def new_folder() -> Path:
    """Return a folder for one site; the user that runs PostgreSQL must be able to get there."""
    return Path(tempfile.mkdtemp(prefix="airflow-edge-faults-"))
