"""The platform as its users have it: a release of the chart, kubectl, Airflow's REST API."""

import base64
import json
import secrets
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import yaml

from edge_demo.airflow_client import AirflowClient
from tests.e2e.clusters import Cluster
from tests.e2e.forward import Forward
from tests.e2e.helm import CHART, Helm

NAME = "edge"
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
VALUES = Path(__file__).with_name("values.yaml")
DAG_FOLDERS = (EXAMPLES / "dags", Path(__file__).with_name("dags"))
INTERVAL_S = 0.3

Obj = dict[str, Any]
T = TypeVar("T")


class Release:
    """One namespace with the chart in it. A context manager, which leaves the namespace behind."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.namespace = f"edge-{secrets.token_hex(3)}"
        self.helm = Helm(cluster.helm, cluster.kubeconfig, self.namespace)
        self.holds: list[Hold] = []
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        self.kubectl("create", "namespace", self.namespace)
        files = [f"--from-file={folder}" for folder in DAG_FOLDERS]
        self.kubectl("create", "configmap", "dags", *files)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def install(self) -> None:
        """Install the chart and wait until all is ready."""
        self.helm("install", NAME, str(CHART), *self.values(self.cluster.tag), "--wait", "--timeout", "5m")

    def values(self, tag: str) -> list[str]:
        """Return the arguments that set the values of the suite."""
        images = [f"--set=image.registry={self.cluster.registry}", f"--set=image.tag={tag}"]
        return [f"--values={VALUES}", *images]

    def connect(self) -> None:
        """Open a way to Airflow, and sign in."""
        secret = self.get("secret", f"{NAME}-airflow")["data"]["admin-password"]
        way = self._closing.enter_context(self.forward(f"service/{NAME}-api-server", 8080))
        login = ("admin", base64.b64decode(secret).decode())
        self.airflow = self._closing.enter_context(AirflowClient(way.url, login))

    def forward(self, target: str, port: int) -> Forward:
        """Return a way to a Service or pod."""
        return Forward(self._kubectl(), target, port, self.folder / "forward.log")

    # kubectl

    def _kubectl(self) -> list[str]:
        return [str(self.cluster.kubectl), f"--kubeconfig={self.cluster.kubeconfig}", f"--namespace={self.namespace}"]

    def try_kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return how it went."""
        command = [*self._kubectl(), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return what it prints."""
        done = self.try_kubectl(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
        return done.stdout

    def apply(self, *objects: Obj) -> None:
        """Run `kubectl apply`."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, *arguments: str) -> Any:
        """Return `kubectl get ... -o json`."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def find(self, kind: str, name: str) -> Obj | None:
        """Return an object, or None."""
        text = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def status(self, kind: str, name: str) -> Obj:
        """Return the status of an object; empty while there is none."""
        found: Obj = (self.find(kind, name) or {}).get("status") or {}
        return found

    def condition(self, kind: str, name: str, condition: str) -> Obj:
        """Return a condition of an object; empty while there is none."""
        conditions = self.status(kind, name).get("conditions") or []
        return next((one for one in conditions if one["type"] == condition), {})

    def wait_ready(self, kind: str, name: str, deadline_s: float = 120) -> None:
        """Wait until an EdgeWorker or EdgeWorkerPool says that it is ready."""
        eventually(
            lambda: self.condition(kind, name, "Ready").get("status") == "True",
            f"{kind} {name} is ready",
            deadline_s,
            lambda: self.find(kind, name),
        )

    def pods(self, selector: str) -> list[Obj]:
        """Return the pods that labels select, those that are being deleted too."""
        found: list[Obj] = self.get("pods", f"--selector={selector}")["items"]
        return found

    def component(self, name: str) -> list[Obj]:
        """Return the pods of one of the chart's components."""
        return self.pods(f"app.kubernetes.io/component={name}")

    # Airflow

    def start_hold(self, dag: str, tasks: int) -> "Hold":
        """Start a run whose tasks go on until they are let go."""
        gate = f"gate-{secrets.token_hex(4)}"
        hold = Hold(self, dag, self.airflow.trigger(dag, {"gate": gate, "tasks": tasks}), gate)
        self.holds.append(hold)
        return hold


class Hold:
    """A run of one of the DAGs that wait."""

    def __init__(self, release: Release, dag: str, run: str, gate: str) -> None:
        self.release, self.dag, self.run, self.gate = release, dag, run, gate
        self._open = False

    def tasks(self) -> list[Obj]:
        """Return the tasks that wait."""
        found = ask(lambda: self.release.airflow.task_instances(self.dag, self.run))
        return [task for task in found if task["task_id"] == "wait"]

    def wait_running(self, count: int, deadline_s: float = 90) -> None:
        """Wait until so many of them run."""
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
        """Return the numbers of the lines that the task has written, as far as they can be read."""
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
        """Wait until the run has ended, and check how."""
        found = eventually(self._end, f"{self.dag} ends", deadline_s, self.states)
        assert found == state, self.states()

    def _end(self) -> str | None:
        state = ask(lambda: self.release.airflow.run_state(self.dag, self.run))
        return state if state in ("success", "failed") else None


def ask(question: Callable[[], T], patience_s: float = 90) -> T:
    """Ask Airflow, and again while its api-server is being replaced."""
    end = time.monotonic() + patience_s
    while True:
        try:
            return question()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            gone = (
                isinstance(error, httpx.HTTPStatusError)
                and error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR
            )
            if gone or time.monotonic() > end:
                raise
        time.sleep(INTERVAL_S)


def eventually(
    question: Callable[[], T], what: str, deadline_s: float = 60, explain: Callable[[], object] = lambda: ""
) -> T:
    """Return the first true answer.

    Raises:
        AssertionError: there was none before the deadline.

    """
    end = time.monotonic() + deadline_s
    while not (answer := question()):
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what}; {explain()}"
        time.sleep(INTERVAL_S)
    return answer
