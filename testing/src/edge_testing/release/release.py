"""A release of the chart, used through kubectl and Airflow's REST API."""

import base64
import secrets
from pathlib import Path
from typing import Self

from edge_demo.airflow_client import AirflowClient
from edge_testing.airflow.asking import ask
from edge_testing.cluster.choice import Cluster
from edge_testing.kubernetes.api import Obj
from edge_testing.release.namespace import Namespace
from edge_testing.repository import CHART, EXAMPLES
from edge_testing.waiting import eventually

NAME = "edge"
VALUES = Path(__file__).with_name("values.yaml")
DAG_FOLDERS = (EXAMPLES / "dags", Path(__file__).with_name("dags"))


class Release(Namespace):
    """A namespace with one release of the chart."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__(cluster, folder)
        self.holds: list[Hold] = []

    def __enter__(self) -> Self:
        super().__enter__()
        files = [f"--from-file={folder}" for folder in DAG_FOLDERS]
        self.kubectl("create", "configmap", "dags", *files)
        return self

    def install(self) -> None:
        """Install the chart and wait until everything is ready."""
        self.helm("install", NAME, str(CHART), *self.values(self.cluster.tag), "--wait", "--timeout", "5m")

    def values(self, tag: str) -> list[str]:
        """Return the arguments that set the values of the suite."""
        return [f"--values={VALUES}", *self.images(tag)]

    def connect(self) -> None:
        """Forward a port to Airflow, and log in."""
        secret = self.get("secret", f"{NAME}-airflow")["data"]["admin-password"]
        way = self._closing.enter_context(self.forward(f"service/{NAME}-api-server", 8080))
        login = ("admin", base64.b64decode(secret).decode())
        self.airflow = self._closing.enter_context(AirflowClient(way.url, login))

    def start_hold(self, dag: str, tasks: int) -> "Hold":
        """Start a run whose tasks last until they are let go."""
        gate = f"gate-{secrets.token_hex(4)}"
        hold = Hold(self, dag, self.airflow.trigger(dag, {"gate": gate, "tasks": tasks}), gate)
        self.holds.append(hold)
        return hold


class Hold:
    """A run of one of the `hold` DAGs, whose tasks last until their gate opens."""

    def __init__(self, release: Release, dag: str, run: str, gate: str) -> None:
        self.release, self.dag, self.run, self.gate = release, dag, run, gate
        self._open = False

    def tasks(self) -> list[Obj]:
        """Return the waiting tasks."""
        found = ask(lambda: self.release.airflow.task_instances(self.dag, self.run))
        return [task for task in found if task["task_id"] == "wait"]

    def wait_running(self, count: int, deadline_s: float = 90) -> None:
        """Wait until `count` tasks run."""
        eventually(
            lambda: sum(task["state"] == "running" for task in self.tasks()) >= count,
            f"{count} tasks of {self.dag} run",
            deadline_s,
            self.states,
        )

    def states(self) -> list[tuple[str, int]]:
        """Return state and try of each task."""
        return [(task["state"], task["try_number"]) for task in self.tasks()]

    def log(self, number: int = 0, attempt: int = 1) -> list[str]:
        """Return the log of a task, as Airflow shows it."""
        return ask(lambda: self.release.airflow.log_events(self.dag, self.run, "wait", attempt, number))

    def lines(self, number: int = 0, attempt: int = 1) -> list[int]:
        """Return the numbers of the log lines that can be read so far."""
        return [int(line.split()[1]) for line in self.log(number, attempt) if line.startswith("line ")]

    def let_go(self) -> None:
        """Open the gate, if it is not open yet."""
        if self._open:
            return
        self._open = True
        body = {"key": self.gate, "value": "open"}
        ask(lambda: self.release.airflow.request("POST", "variables", json=body))

    def finish(self, deadline_s: float = 120) -> list[Obj]:
        """Open the gate, check that the run succeeds, and return its waiting tasks."""
        self.let_go()
        self.ended("success", deadline_s)
        return self.tasks()

    def ended(self, state: str, deadline_s: float = 120) -> None:
        """Wait until the run has ended, and check its state."""
        found = eventually(self._end, f"{self.dag} ends", deadline_s, self.states)
        assert found == state, self.states()

    def _end(self) -> str | None:
        state = ask(lambda: self.release.airflow.run_state(self.dag, self.run))
        return state if state in ("success", "failed") else None
