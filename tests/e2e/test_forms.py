"""The chart beside an existing Airflow, and at a remote site that has only workers and calls over HTTPS."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from string import Template

import pytest

from edge_demo.airflow_client import AirflowClient
from edge_testing.airflow.asking import ask
from edge_testing.cluster.choice import Cluster
from edge_testing.release.entry import host, make_certificates, open_entry
from edge_testing.release.namespace import Namespace
from edge_testing.repository import CHART
from edge_testing.waiting import eventually

NAME = "edge"
SITE = "north"
FILES = Path(__file__).parent / "forms"
DAGS = Path(__file__).parent / "dags" / "forms"
DAG = "two_executors"
API = "deployment/edge-edge-api"


class ControlPlaneSite(Namespace):
    """A company's existing Airflow, with the edge API and the operator beside it."""

    airflow: AirflowClient
    ca_file: Path

    def install(self) -> None:
        """Follow docs/install.md, in its order."""
        self.ca_file = make_certificates(self, self.folder)
        registry, tag = self.cluster.registry, self.cluster.tag
        images = {"airflow": f"{registry}/airflow-edge/airflow:{tag}", "postgres": f"{registry}/postgres:16"}
        manifests = Template((FILES / "airflow.yaml").read_text()).substitute(images)
        self.kubectl("create", "configmap", "dags", f"--from-file={DAGS}")
        for name, user in (("airflow-database", "airflow:owners"), ("edge-api-database", "edge_api:its-own")):
            url = f"postgresql://{user}@db:5432/airflow"
            self.kubectl("create", "secret", "generic", name, f"--from-literal=connection={url}")
        token = f"edgea_{secrets.token_hex(16)}_{secrets.token_hex(32)}"
        self.kubectl("create", "secret", "generic", "operator-credential", f"--from-literal=token={token}")
        self.kubectl("apply", "-f", "-", stdin=manifests)
        values = [f"--values={CHART / 'examples' / 'existing-airflow.yaml'}", *self.images(tag)]
        values += [
            f"--set=ingress.host={host(self.namespace)}",
            "--set=edgeApi.executionApiUrl=http://airflow:8080/execution/",
        ]
        self.helm("install", NAME, str(CHART), *values, "--wait", "--timeout", "3m")
        open_entry(self, self.cluster)

    def connect(self) -> None:
        """Connect to Airflow, once it has parsed its DAG."""
        self.kubectl("wait", "--for=condition=Ready", "pod/airflow", "--timeout=180s")
        way = self._closing.enter_context(self.forward("service/airflow", 8080))
        self.airflow = self._closing.enter_context(AirflowClient(way.url))
        eventually(lambda: DAG in ask(self.airflow.dag_ids), "the DAG is read", 90)
        self.airflow.unpause(DAG)

    def run(self, *command: str) -> str:
        """Run a command in the edge API's pod."""
        return self.kubectl("exec", API, "--container=edge-api", "--", *command)

    def workers(self) -> list[str]:
        """Return the workers of the fleet, as Airflow's command line lists them."""
        token = self.run("edge-api", "credential", "create", "--role", "read").strip()
        settings = (f"AIRFLOW__EDGE__ADMIN_API_URL=http://{NAME}-edge-api:8800", f"AIRFLOW__EDGE__ADMIN_TOKEN={token}")
        command = ("env", *settings, "airflow", "edge", "list-workers", "--output", "json")
        listed = self.kubectl("exec", "airflow", "--container=scheduler", "--", *command)
        return [worker["worker_name"] for worker in json.loads(listed)]


@pytest.fixture(scope="module")
def control_plane(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlaneSite]:
    """An Airflow with the chart in the mode for existing Airflows."""
    with ControlPlaneSite(cluster, tmp_path_factory.mktemp("control-plane"), "control-plane") as made:
        made.install()
        made.connect()
        yield made


@pytest.fixture(scope="module")
def remote(
    cluster: Cluster, control_plane: ControlPlaneSite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Namespace]:
    """A remote site in another namespace: it has a URL of the control plane, a credential and a CA certificate."""
    credential = control_plane.run(
        "edge-api", "credential", "create", "--role", "admin", "--worker-pattern", f"{SITE}-*"
    )
    with Namespace(cluster, tmp_path_factory.mktemp("remote"), "remote") as made:
        made.kubectl("create", "secret", "generic", "operator-credential", f"--from-literal=token={credential.strip()}")
        made.kubectl("create", "secret", "generic", "company-ca", f"--from-file=ca.crt={control_plane.ca_file}")
        made.kubectl("create", "configmap", "dags", f"--from-file={DAGS}")
        values = [f"--values={CHART / 'examples' / 'remote.yaml'}", *made.images(cluster.tag)]
        values += [
            f"--set=controlPlane.url=https://{host(control_plane.namespace)}",
            "--set=controlPlane.caSecret=company-ca",
        ]
        values += ["--set=dags.bundles=null", "--set=dags.configMap=dags"]
        made.helm("install", SITE, str(CHART), *values, "--wait", "--timeout", "3m")
        made.wait_ready("edgeworkerpool", SITE)
        yield made


def test_a_dag_runs_here_and_at_the_remote_site(control_plane: ControlPlaneSite, remote: Namespace) -> None:
    run = control_plane.airflow.trigger(DAG)
    assert ask(lambda: control_plane.airflow.wait_for_run(DAG, run, timeout_s=120)) == "success"
    workers = {control_plane.airflow.xcom(DAG, run, "press", map_index=number) for number in range(3)}
    assert workers == {f"{SITE}-0"}
    # One log was written by the edge worker and stored by the edge API, the other by Airflow itself.
    assert "pressed a hood" in control_plane.airflow.log_events(DAG, run, "press", map_index=1)
    assert control_plane.airflow.log_events(DAG, run, "order")


def test_the_edge_api_has_its_own_schema_only(control_plane: ControlPlaneSite, remote: Namespace) -> None:
    look = "import os, psycopg; c = psycopg.connect(os.environ['EDGE_API_DATABASE_URL']); c.execute('select 1 from {}')"
    control_plane.run("python", "-c", look.format("edge.worker"))
    done = control_plane.try_kubectl(
        "exec", API, "--container=edge-api", "--", "python", "-c", look.format("public.dag_run")
    )
    assert "InsufficientPrivilege" in done.stderr


def test_an_uninstall_takes_the_workers_out_of_the_fleet(control_plane: ControlPlaneSite, remote: Namespace) -> None:
    (pod,) = remote.pods(f"airflow-edge.io/pool={SITE}")
    assert control_plane.workers() == [f"{SITE}-0"]
    remote.helm("uninstall", SITE, "--wait", "--timeout", "5m")
    assert control_plane.workers() == []
    # nginx logs a WebSocket when it ends.
    calls = [
        line for line in control_plane.kubectl("logs", "entry").splitlines() if line.startswith(pod["status"]["podIP"])
    ]
    assert [call for call in calls if "/edge_worker/" in call and '" 101 ' in call]
    assert [call for call in calls if "/execution/" in call and '" 20' in call]
