"""The chart on a real apiserver: the objects after an install, an upgrade and an uninstall. No pod runs here."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_operator.kube.client import KubeClient
from edge_operator.kube.leader import LeaderLease
from edge_testing.chart.installation import Installation
from edge_testing.chart.render import Rendered, render
from edge_testing.kubernetes.api import Obj
from edge_testing.kubernetes.control_plane import ControlPlane
from edge_testing.repository import CHART

ROOT = CHART.parent
POOL = ("--set", "workerPools.north.queues={press}")


def test_pools_come_with_the_crds_of_the_same_install(cluster: ControlPlane, place: Installation) -> None:
    cluster.try_kubectl("delete", "crd", "edgeworkers.airflow-edge.io", "edgeworkerpools.airflow-edge.io")
    place.install(*POOL)
    # kubectl may have cached that there is no such kind.
    path = f"/apis/airflow-edge.io/v1alpha1/namespaces/{place.namespace}/edgeworkerpools"
    pools = json.loads(cluster.kubectl("get", f"--raw={path}"))
    assert [pool["metadata"]["name"] for pool in pools["items"]] == ["north"]


def test_what_was_generated_outlives_upgrades_and_a_reinstall(place: Installation) -> None:
    place.install()
    before = place.secrets()
    assert set(before) == {
        *("edge-airflow", "edge-database", "edge-edge-api-database", "edge-operator-credential"),
    }
    place.upgrade("--set", "edgeApi.replicas=3")
    assert place.secrets() == before
    assert place.helm("uninstall", "edge", "--no-hooks").returncode == 0
    assert place.secrets() == before
    place.install()
    assert place.secrets() == before


def test_an_upgrade_without_changes_restarts_nothing(place: Installation) -> None:
    place.install(*POOL)
    before = _generations(place)
    place.upgrade(*POOL)
    assert _generations(place) == before
    place.upgrade(*POOL, "--set", "edgeApi.settings.heartbeat_interval_s=20")
    changed = {name for name, generation in _generations(place).items() if generation != before[name]}
    assert changed == {"edge-edge-api"}


def _generations(place: Installation) -> dict[str, int]:
    items = place.get("deployment,statefulset")["items"]
    return {item["metadata"]["name"]: item["metadata"]["generation"] for item in items}


def test_a_change_of_a_secret_restarts_who_uses_it(place: Installation) -> None:
    place.install()
    before = _generations(place)
    patch = {"data": {"password": base64.b64encode(b"another").decode()}}
    place.kubectl("patch", "secret", "edge-edge-api-database", "-p", json.dumps(patch))
    place.upgrade()
    url = base64.b64decode(place.secrets()["edge-edge-api-database"]["url"]).decode()
    assert "edge_api:another@" in url
    assert _generations(place)["edge-edge-api"] == before["edge-edge-api"] + 1


def test_the_database_is_prepared_again_at_each_upgrade(place: Installation) -> None:
    place.install()
    (first,) = place.get("job")["items"]
    place.upgrade()
    (second,) = place.get("job")["items"]
    assert first["metadata"]["name"] != second["metadata"]["name"]


def test_a_scaled_pool_is_left_alone(place: Installation) -> None:
    place.install(*POOL)
    place.kubectl("scale", "edgeworkerpools.airflow-edge.io/north", "--replicas=4")
    place.upgrade(*POOL)
    assert place.get("edgeworkerpools.airflow-edge.io", "north")["spec"]["replicas"] == 4


async def test_the_operators_lease_belongs_to_the_release(cluster: ControlPlane, place: Installation) -> None:
    """Otherwise it would be left behind; and the operator's writes into it must not disturb an upgrade."""
    place.install()
    async with KubeClient(cluster.kubeconfig) as client:
        lease = LeaderLease(client, place.namespace, "edge-operator", "pod-1")
        await lease.acquire()
        place.upgrade("--set", "edgeApi.replicas=3")
        assert place.get("lease", "edge-operator")["spec"]["holderIdentity"] == "pod-1"
        await lease.release()
    place.upgrade()


def test_a_second_release_in_a_namespace_is_refused(place: Installation) -> None:
    place.install()
    done = place.helm("install", "other", str(CHART), "--no-hooks")
    assert done.returncode != 0
    assert f"The namespace {place.namespace} already has an airflow-edge, the release edge." in done.stderr
    assert "helm upgrade" in done.stderr
    assert place.helm("status", "other").returncode != 0


def test_the_guide_lists_what_remains(place: Installation) -> None:
    place.install(*POOL)
    done = place.helm("uninstall", "edge", "--no-hooks")
    assert done.returncode == 0, done.stderr
    kinds = (
        "all,configmap,secret,serviceaccount,role,rolebinding,lease,networkpolicy,pvc,edgeworkerpools.airflow-edge.io"
    )
    found = place.get(kinds, "-l", "app.kubernetes.io/name=airflow-edge")["items"]
    left = {f"{item['kind']} {item['metadata']['name']}" for item in found if item["kind"] != "Pod"}
    secrets_left = {"edge-airflow", "edge-database", "edge-edge-api-database", "edge-operator-credential"}
    assert left == {*(f"Secret {name}" for name in secrets_left), "PersistentVolumeClaim data-edge-postgresql-0"}
    guide = (ROOT / "docs" / "install.md").read_text()
    for name in (*secrets_left, "data-edge-postgresql-0"):
        assert f"`{name}`" in guide
    assert "customresourcedefinition" in place.cluster.kubectl(
        "get", "crd", "edgeworkers.airflow-edge.io", "-o", "name"
    )


@pytest.mark.parametrize("mode", ["platform", "existing", "remote"])
def test_the_apiserver_takes_all_objects(cluster: ControlPlane, place: Installation, mode: str) -> None:
    """Includes hooks, which installs in these tests leave out."""
    place.install(*POOL)
    objects = [_in_namespace(obj, place.namespace) for obj in render(mode, version="1.20.2").objects]
    cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(objects))


def _in_namespace(obj: Obj, namespace: str) -> Obj:
    copy: Obj = json.loads(json.dumps(obj).replace('"namespace": "air"', f'"namespace": "{namespace}"'))
    copy["metadata"]["name"] = f"try-{copy['metadata']['name']}"[:63]
    return copy


def test_examples_are_taken(place: Installation) -> None:
    place.install()
    for file in ("edgeworker.yaml", "edgeworkerpool.yaml"):
        place.kubectl("create", "--dry-run=server", "-f", str(ROOT / "examples" / file))


# The hooks' commands, as processes with exactly the rights that the chart grants.


def hook_kubeconfig(place: Installation, made: Rendered, account: str, folder: Path) -> Path:
    """Grant a hook's rights and return a kubeconfig of its service account."""
    kinds = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    objects = [
        json.loads(json.dumps(obj).replace('"namespace": "air"', f'"namespace": "{place.namespace}"'))
        for obj in made.objects
        if obj["kind"] in kinds and obj["metadata"]["name"].endswith(account)
    ]
    place.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
    token = place.cluster.service_account_token(place.namespace, account)
    return place.cluster.write_kubeconfig(folder / "hook.kubeconfig", token, place.namespace)


def operator_command(place: Installation, kubeconfig: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {"EDGE_OPERATOR_KUBECONFIG": str(kubeconfig), "EDGE_OPERATOR_NAMESPACES": place.namespace}
    command = [sys.executable, "-m", "edge_operator.cli", *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finished(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_the_hook_brings_crds_up_to_date(cluster: ControlPlane, place: Installation, tmp_path: Path) -> None:
    place.install()
    name = "edgeworkers.airflow-edge.io"
    columns = [{"op": "replace", "path": "/spec/versions/0/additionalPrinterColumns", "value": []}]
    cluster.kubectl("patch", "crd", name, "--type=json", "-p", json.dumps(columns))
    made = render("platform")
    for file, text in made.one("ConfigMap", "edge-crds")["data"].items():
        (tmp_path / file).write_text(text)
    kubeconfig = hook_kubeconfig(place, made, "edge-crds", tmp_path)
    code, said = finished(operator_command(place, kubeconfig, "upgrade-crds", str(tmp_path)))
    assert code == 0, said
    assert len(cluster.get("crd", name)["spec"]["versions"][0]["additionalPrinterColumns"]) > 5


def worker(name: str, **spec: Any) -> str:
    meta = {"name": name, "finalizers": ["airflow-edge.io/worker"]}
    return yaml.safe_dump(
        {"apiVersion": "airflow-edge.io/v1alpha1", "kind": "EdgeWorker", "metadata": meta, "spec": spec}
    )


def release(place: Installation, name: str) -> None:
    """Remove the finalizers, as the operator does at the end of a deletion."""
    patch = json.dumps({"metadata": {"finalizers": None}})
    place.kubectl("patch", "edgeworkers.airflow-edge.io", name, "--type=merge", "-p", patch)


def test_the_hook_deletes_workers_and_waits_for_them(place: Installation, tmp_path: Path) -> None:
    place.install(*POOL)
    place.kubectl("apply", "-f", "-", stdin=f"{worker('plant-1')}---\n{worker('plant-2', mode='External')}")
    kubeconfig = hook_kubeconfig(place, render("platform"), "edge-uninstall", tmp_path)
    waiting = operator_command(place, kubeconfig, "delete-workers", "--timeout", "60")
    assert waiting.stderr is not None
    assert "plant-1" in waiting.stderr.readline()
    release(place, "plant-1")
    code, said = finished(waiting)
    assert code == 0, said
    assert place.get("edgeworkerpools.airflow-edge.io")["items"] == []
    (left,) = place.get("edgeworkers.airflow-edge.io")["items"]
    assert left["metadata"]["name"] == "plant-2"
    assert "deletionTimestamp" not in left["metadata"]
    code, said = finished(operator_command(place, kubeconfig, "release-workers"))
    assert code == 0, said
    (left,) = place.get("edgeworkers.airflow-edge.io")["items"]
    assert "finalizers" not in left["metadata"]


def test_the_hook_names_workers_that_still_drain(place: Installation, tmp_path: Path) -> None:
    place.install()
    place.kubectl("apply", "-f", "-", stdin=worker("plant-1"))
    kubeconfig = hook_kubeconfig(place, render("platform"), "edge-uninstall", tmp_path)
    code, said = finished(operator_command(place, kubeconfig, "delete-workers", "--timeout", "1"))
    assert code == 1
    last = said.splitlines()[-1]
    assert f"{place.namespace}/plant-1" in last
    assert "force-delete=true" in last
    release(place, "plant-1")


def test_the_hook_finds_no_crds(place: Installation, tmp_path: Path) -> None:
    place.install()
    kubeconfig = hook_kubeconfig(place, render("platform"), "edge-crds", tmp_path)
    code, said = finished(operator_command(place, kubeconfig, "upgrade-crds", str(tmp_path)))
    assert (code, len(said.splitlines())) == (1, 1)
    assert "has no CRDs" in said
