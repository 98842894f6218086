"""The whole platform on one machine: real processes of every part, each of which can be killed and restarted."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from edge_demo.airflow_client import AirflowClient
from edge_demo.environment import (
    LOCALHOST,
    PASSWORDS,
    airflow_env,
    base_env,
    edge_api_env,
    fleet_page_env,
    free_port,
    worker_env,
)
from edge_demo.postgres import EmbeddedPostgres
from edge_demo.processes import ManagedProcess, answers, run_command, wait_until

EDGE_EXECUTOR = "edge_provider.executor.EdgeExecutor"
START_TIMEOUT_S = 120.0
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")


@dataclass(frozen=True)
class WorkerSpec:
    """A worker to run."""

    name: str
    queues: tuple[str, ...] = ("default",)
    concurrency: int = 8
    api: int = 0
    """Index of the edge API that it connects to."""
    env: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    """Command that runs the worker's own, for example in a namespace."""


@dataclass(frozen=True)
class PlatformSpec:
    """The parts and settings of a platform."""

    dags: Path
    workers: Sequence[WorkerSpec] = (WorkerSpec("worker-1"),)
    executor: str = EDGE_EXECUTOR
    edge_apis: int = 1
    base_path: str = ""
    """Path below which Airflow is served, such as `/airflow`."""
    programs: Path = Path(sys.executable).parent
    """Folder of the programs `airflow`, `edge-api` and `edge-worker`."""
    passwords: Mapping[str, str] = field(default_factory=dict)
    """Users of Airflow and their passwords, the first an admin; their roles are in `airflow_env`. Empty: no login."""
    airflow_env: Mapping[str, str] = field(default_factory=dict)
    edge_api_env: Mapping[str, str] = field(default_factory=dict)


class Platform:
    """Starts all parts on `with`, and stops them at its end, after an error or Ctrl-C too.

    `say` is called with the name of each part that is being started.
    """

    def __init__(self, folder: Path, spec: PlatformSpec, say: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder
        self.spec = spec
        self._say = say
        self._closing = contextlib.ExitStack()
        self.processes: dict[str, ManagedProcess] = {}
        self.edge_api_urls = [f"http://{LOCALHOST}:{free_port()}" for _ in range(spec.edge_apis)]
        self.airflow_url = f"http://{LOCALHOST}:{free_port()}{spec.base_path}"
        self.admin_api_url = self.edge_api_urls[0]
        """Where the fleet page of the next api-server finds the admin API."""

    @property
    def fleet_page_url(self) -> str:
        """The fleet page in Airflow's UI."""
        return f"{self.airflow_url}/plugin/edge"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self._say("PostgreSQL")
        self.postgres = self._closing.enter_context(EmbeddedPostgres(self.folder / "postgres"))
        self._guard_postgres()
        self.database_url = self.postgres.create_database("airflow")
        self._engine = create_engine(self.database_url, poolclass=NullPool)
        login = next(iter(self.spec.passwords.items()), None)
        if login:
            (self._home("airflow") / PASSWORDS).write_text(json.dumps(dict(self.spec.passwords)))
        self.airflow = self._closing.enter_context(AirflowClient(self.airflow_url, login))
        self._airflow_env = airflow_env(
            home=self._home("airflow"),
            dags=self.spec.dags,
            database_url=self.database_url,
            url=self.airflow_url,
            executor=self.spec.executor,
            extra=self.spec.airflow_env,
        )
        self._say("airflow db migrate")
        self.run("airflow", "db", "migrate", env=self._airflow_env)
        self._say("api-server, scheduler, dag-processor, triggerer, edge API")
        for name in COMPONENTS:
            env = self._api_server_env() if name == "api-server" else self._airflow_env
            self._add(name, ["airflow", name], env).start()
        for number, url in enumerate(self.edge_api_urls):
            self._add(f"edge-api-{number}", ["edge-api", "serve"], self._edge_api_env(url)).start()
        for number in range(len(self.edge_api_urls)):
            self.wait_edge_api(number)
        self._say(f"{len(self.spec.workers)} edge worker(s)")
        for worker in self.spec.workers:
            self.add_worker(worker)
        self.wait_airflow()
        for worker in self.spec.workers:
            self.wait_worker(worker.name)

    def stop(self) -> None:
        """Stop everything: signal all processes, then wait for each, workers before the control plane."""
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in reversed(self.processes.values()):
            process.stop(timeout_s=5)
        self._closing.close()

    def _guard_postgres(self) -> None:
        folder = self.folder / "postgres"
        command = [sys.executable, "-m", "edge_demo.guard", str(folder / "postmaster.pid")]
        guard = ManagedProcess("guard", command, base_env(folder), self.folder / "guard.log", self.folder)
        guard.start()
        self._closing.callback(guard.kill)

    def _home(self, name: str) -> Path:
        home = self.folder / name
        home.mkdir(parents=True, exist_ok=True)
        return home

    def _add(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> ManagedProcess:
        program, *arguments = command
        process = ManagedProcess(
            name, [str(self.spec.programs / program), *arguments], env, self.folder / f"{name}.log", cwd=self.folder
        )
        self.processes[name] = process
        return process

    def run(self, program: str, *arguments: str, env: Mapping[str, str]) -> str:
        """Run one of the platform's programs to its end and return what it printed on stdout.

        Raises:
            ProcessError: it failed; the message has its stderr.

        """
        return run_command([str(self.spec.programs / program), *arguments], env, self.folder, START_TIMEOUT_S)

    def _edge_api_env(self, url: str) -> dict[str, str]:
        port = {"EDGE_API_PORT": url.rsplit(":", 1)[1]}
        return edge_api_env(
            home=self._home("edge-api"),
            database_url=self.database_url,
            airflow_url=self.airflow_url,
            extra={**port, **self.spec.edge_api_env},
        )

    def _api_server_env(self) -> dict[str, str]:
        """Return the settings of an api-server: of Airflow, and of the fleet page with a credential of its own."""
        token = self.folder / "fleet-page-credential"
        token.touch(mode=0o600)
        token.write_text(self.credential("--role", "admin", "--label", "fleet page", "--on-behalf"))
        page = fleet_page_env(admin_api_url=self.admin_api_url, api_url=self.edge_api_urls[0], token_file=token)
        return self._airflow_env | page

    def add_api_server(self) -> str:
        """Start another api-server and return its URL."""
        port = free_port()
        name = f"api-server-{port}"
        self._add(name, ["airflow", "api-server", "--port", str(port)], self._api_server_env()).start()
        url = f"http://{LOCALHOST}:{port}{self.spec.base_path}"
        wait_until(lambda: answers(f"{url}/api/v2/monitor/health"), f"{url} answers", START_TIMEOUT_S)
        return url

    def credential(self, *arguments: str) -> str:
        """Create a credential for the admin API."""
        env = self._edge_api_env(self.edge_api_urls[0])
        return self.run("edge-api", "credential", "create", *arguments, env=env).strip()

    def join_token(self, *arguments: str) -> str:
        """Create a join token."""
        env = self._edge_api_env(self.edge_api_urls[0])
        return self.run("edge-api", "token", "create", *arguments, env=env).strip()

    def add_worker(self, spec: WorkerSpec) -> ManagedProcess:
        """Start a worker that enrols itself with a fresh join token."""
        home = self._home(spec.name)
        settings = {
            "EDGE_WORKER_NAME": spec.name,
            "EDGE_WORKER_API_URL": self.edge_api_urls[spec.api],
            "EDGE_WORKER_QUEUES": ",".join(spec.queues),
            "EDGE_WORKER_CONCURRENCY": str(spec.concurrency),
            "EDGE_WORKER_JOIN_TOKEN": self.join_token("--name-pattern", spec.name, "--uses", "1"),
        }
        env = worker_env(home=home, dags=self.spec.dags, executor=self.spec.executor, extra={**settings, **spec.env})
        command = [*spec.prefix, str(self.spec.programs / "edge-worker"), "run"]
        process = self._add(spec.name, command, env)
        process.start()
        return process

    def wait_airflow(self) -> None:
        """Wait until all components of Airflow are healthy."""
        alive = [self.processes[name] for name in COMPONENTS]
        wait_until(self._airflow_is_healthy, "Airflow is healthy", START_TIMEOUT_S, alive)

    def restart_ended(self) -> bool:
        """Restart components of Airflow that have ended, as a service manager does; return whether there were any."""
        ended = [self.processes[name] for name in COMPONENTS if not self.processes[name].running]
        for process in ended:
            process.start()
        return bool(ended)

    def revive_airflow(self) -> None:
        """Restart components of Airflow that end until all are healthy."""
        wait_until(
            lambda: not self.restart_ended() and self._airflow_is_healthy(), "Airflow is healthy again", START_TIMEOUT_S
        )

    def _airflow_is_healthy(self) -> bool:
        # The first call makes the api-server build its Execution API, which takes seconds: do it before the first task.
        if not answers(f"{self.airflow_url}/execution/health"):
            return False
        health = self.airflow.health()
        return all(
            health.get(part) == "healthy" for part in ("metadatabase", "scheduler", "dag_processor", "triggerer")
        )

    def wait_edge_api(self, number: int = 0) -> None:
        """Wait until an edge API is ready."""
        url = f"{self.edge_api_urls[number]}/readyz"
        wait_until(lambda: answers(url), f"{url} answers", START_TIMEOUT_S, [self.processes[f"edge-api-{number}"]])

    def wait_worker(self, name: str) -> None:
        """Wait until a worker has a session and can get jobs."""
        query = "SELECT 1 FROM edge.worker WHERE name = :name AND session_id IS NOT NULL AND NOT offline AND NOT lost"
        wait_until(lambda: bool(self.rows(query, name=name)), f"{name} is online", 60, [self.processes[name]])

    def wait_dags(self, dag_ids: Sequence[str], timeout_s: float = 60) -> None:
        """Wait until Airflow has parsed these DAGs."""
        expected = set(dag_ids)
        alive = [self.processes["dag-processor"]]
        wait_until(lambda: expected <= self.airflow.dag_ids(), f"DAGs {sorted(expected)} are parsed", timeout_s, alive)

    def rows(self, query: str, **parameters: Any) -> Sequence[Any]:
        """Run a query on Airflow's database and return all rows."""
        with self._engine.connect() as connection:
            return connection.execute(text(query), parameters).all()

    def ended(self) -> Iterator[ManagedProcess]:
        """Yield the processes that have ended."""
        return (process for process in self.processes.values() if not process.running)
