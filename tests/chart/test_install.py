"""The chart on a real apiserver: the objects after an install, an upgrade and an uninstall. No pod runs here."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from edge_api.identity import tokens
from edge_operator.kube.client import KubeClient
from edge_operator.kube.leader import LeaderLease
from edge_testing.chart.installation import Installation, finished
from edge_testing.chart.render import containers, env, render
from edge_testing.kubernetes.api import Obj
from edge_testing.kubernetes.control_plane import ControlPlane
from edge_testing.repository import CHART
from edge_testing.waiting import eventually

ROOT = CHART.parent
SECRETS = {
    "edge-airflow",
    "edge-database",
    "edge-edge-api-database",
    "edge-operator-credential",
    "edge-fleet-page-credential",
}
POOL = ("--set", "workerPools.north.queues={press}")


def test_pools_come_with_the_crds_of_the_same_install(cluster: ControlPlane, place: Installation) -> None:
    cluster.try_kubectl("delete", "crd", "edgeworkers.airflow-edge.io", "edgeworkerpools.airflow-edge.io")
    place.install(*POOL)
    # kubectl may have cached that there is no such kind.
    path = f"/apis/airflow-edge.io/v1alpha1/namespaces/{place.namespace}/edgeworkerpools"
    pools = json.loads(cluster.kubectl("get", f"--raw={path}"))
    assert [pool["metadata"]["name"] for pool in pools["items"]] == ["north"]


def test_secrets_are_created_once_and_outlive_the_release(place: Installation, tmp_path: Path) -> None:
    assert "is created" in place.create_secrets(tmp_path)
    before = place.secrets()
    assert set(before) == SECRETS
    place.install()
    place.upgrade("--set", "edgeApi.replicas=3")
    log = place.create_secrets(tmp_path)
    assert "is left alone" in log
    assert "is created" not in log
    assert place.secrets() == before
    assert place.helm("uninstall", "edge", "--no-hooks").returncode == 0
    assert place.secrets() == before
    place.create_secrets(tmp_path)
    place.install()
    assert place.secrets() == before


def test_a_deleted_secret_is_replaced_and_a_given_one_is_left_alone(place: Installation, tmp_path: Path) -> None:
    place.kubectl("create", "secret", "generic", "edge-airflow", "--from-literal=fernet-key=mine")
    place.create_secrets(tmp_path)
    assert place.get("secret", "edge-airflow")["data"] == {"fernet-key": base64.b64encode(b"mine").decode()}
    before = place.secrets()
    place.kubectl("delete", "secret", "edge-operator-credential")
    place.create_secrets(tmp_path)
    after = place.secrets()
    assert {name for name in after if after[name] != before[name]} == {"edge-operator-credential"}


def test_secrets_have_what_pods_and_commands_read(place: Installation, tmp_path: Path) -> None:
    log = place.create_secrets(tmp_path)
    found = {
        name: {key: base64.b64decode(value).decode() for key, value in data.items()}
        for name, data in place.secrets().items()
    }
    used = {reference for _, pod in render("platform").pods() for reference in _secret_keys(pod)}
    assert {name for name, _ in used} == SECRETS
    assert not [(name, key) for name, key in used if key not in found[name]]
    airflow, database = found["edge-airflow"], found["edge-edge-api-database"]
    Fernet(airflow["fernet-key"])
    assert json.loads(airflow["passwords.json"]) == {"admin": airflow["admin-password"]}
    host = f"edge-postgresql.{place.namespace}.svc:5432"
    assert database["url"] == f"postgresql+psycopg://edge_api:{database['password']}@{host}/airflow"
    assert tokens.parse(found["edge-operator-credential"]["token"], tokens.ADMIN)
    values = [value for data in found.values() for key, value in data.items() if key != "user"]
    assert len(set(values)) == len(values)
    assert not [value for value in values if value in log]


def _secret_keys(pod: Obj) -> set[tuple[str, str]]:
    """Return (Secret, key) of variables, and of volumes (their key is a file name in the settings)."""
    keys = {value for each in containers(pod) for value in env(each).values() if isinstance(value, tuple)}
    for volume in pod.get("volumes") or []:
        if "secret" in volume:
            items = volume["secret"].get("items", [{"key": "token"}])
            keys |= {(volume["secret"]["secretName"], item["key"]) for item in items}
    return keys - {(None, None)}


def test_the_hook_can_create_secrets_and_nothing_else(place: Installation, tmp_path: Path) -> None:
    place.create_secrets(tmp_path)
    listed = place.kubectl(
        "auth", "can-i", "--list", "--no-headers", f"--as=system:serviceaccount:{place.namespace}:edge-secrets"
    )
    rights = [line.split() for line in listed.splitlines() if not line.split()[0].startswith(("self", "["))]
    assert rights == [["secrets", "[]", "[]", "[create]"]]


def test_helm_creates_secrets_before_anything_that_needs_them(place: Installation, tmp_path: Path) -> None:
    """Install, upgrade and rollback with hooks; the test stands in for the node that would run the Job."""
    settings = ("--set", "crds.upgrade=false", "--timeout", "60s")
    commands = (
        ("install", "edge", str(CHART), *settings),
        ("upgrade", "edge", str(CHART), *settings, "--set", "edgeApi.replicas=3"),
        ("rollback", "edge", "1", "--timeout", "60s"),
    )
    before: dict[str, dict[str, str]] = {}
    for command in commands:
        with ThreadPoolExecutor(1) as thread:
            helm = thread.submit(place.helm, *command)
            eventually(lambda: _waiting_hook(place), "helm waits for the hook", 50)
            if command[0] == "install":
                assert place.get("deployment")["items"] == []
            place.create_secrets(tmp_path)
            done = json.dumps({"status": {"conditions": [{"type": "Complete", "status": "True"}]}})
            place.kubectl("patch", "job", "edge-secrets", "--subresource=status", "--type=merge", "-p", done)
            assert helm.result().returncode == 0, helm.result().stderr
        assert place.secrets() == (before := before or place.secrets())
        assert set(before) == SECRETS
        assert "edge-secrets" not in place.kubectl("get", "job,role,rolebinding,serviceaccount", "-o", "name")


def _waiting_hook(place: Installation) -> bool:
    done = place.cluster.try_kubectl("-n", place.namespace, "get", "job", "edge-secrets", "-o", "jsonpath={.status}")
    return done.returncode == 0 and "Complete" not in done.stdout


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


def test_the_guide_lists_what_remains(place: Installation, tmp_path: Path) -> None:
    place.create_secrets(tmp_path)
    place.install(*POOL)
    done = place.helm("uninstall", "edge", "--no-hooks")
    assert done.returncode == 0, done.stderr
    kinds = (
        "all,configmap,secret,serviceaccount,role,rolebinding,lease,networkpolicy,pvc,edgeworkerpools.airflow-edge.io"
    )
    found = place.get(kinds, "-l", "app.kubernetes.io/name=airflow-edge")["items"]
    hook = ("edge-secrets", f"{place.namespace}-edge-secrets")  # helm deletes its account; here it has no part in it
    left = {
        f"{item['kind']} {item['metadata']['name']}"
        for item in found
        if item["kind"] != "Pod" and item["metadata"]["name"] not in hook
    }
    assert left == {*(f"Secret {name}" for name in SECRETS), "PersistentVolumeClaim data-edge-postgresql-0"}
    guide = (ROOT / "docs" / "install.md").read_text()
    for name in (*SECRETS, "data-edge-postgresql-0"):
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


def test_the_hook_brings_crds_up_to_date(cluster: ControlPlane, place: Installation, tmp_path: Path) -> None:
    place.install()
    name = "edgeworkers.airflow-edge.io"
    columns = [
        {"op": "replace", "path": "/spec/versions/0/additionalPrinterColumns", "value": []},
        {"op": "replace", "path": "/metadata/annotations", "value": {"note": "of others"}},
    ]
    cluster.kubectl("patch", "crd", name, "--type=json", "-p", json.dumps(columns))
    made = render("platform", "--namespace", place.namespace)
    for file, text in made.one("ConfigMap", "edge-crds")["data"].items():
        (tmp_path / file).write_text(text)
    kubeconfig = place.grant_hook(made, "edge-crds", tmp_path)
    code, said = finished(place.start_hook(kubeconfig, "upgrade-crds", str(tmp_path)))
    assert code == 0, said
    crd = cluster.get("crd", name)
    assert len(crd["spec"]["versions"][0]["additionalPrinterColumns"]) > 5
    assert {"note", "helm.sh/resource-policy"} <= set(crd["metadata"]["annotations"])


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
    kubeconfig = place.grant_hook(render("platform", "--namespace", place.namespace), "edge-uninstall", tmp_path)
    waiting = place.start_hook(kubeconfig, "delete-workers", "--timeout", "60")
    assert waiting.stderr is not None
    assert "plant-1" in waiting.stderr.readline()
    release(place, "plant-1")
    code, said = finished(waiting)
    assert code == 0, said
    assert place.get("edgeworkerpools.airflow-edge.io")["items"] == []
    (left,) = place.get("edgeworkers.airflow-edge.io")["items"]
    assert left["metadata"]["name"] == "plant-2"
    assert "deletionTimestamp" not in left["metadata"]
    code, said = finished(place.start_hook(kubeconfig, "release-workers"))
    assert code == 0, said
    (left,) = place.get("edgeworkers.airflow-edge.io")["items"]
    assert "finalizers" not in left["metadata"]


def test_the_hook_names_workers_that_still_drain(place: Installation, tmp_path: Path) -> None:
    place.install()
    place.kubectl("apply", "-f", "-", stdin=worker("plant-1"))
    kubeconfig = place.grant_hook(render("platform", "--namespace", place.namespace), "edge-uninstall", tmp_path)
    code, said = finished(place.start_hook(kubeconfig, "delete-workers", "--timeout", "1"))
    assert code == 1
    last = said.splitlines()[-1]
    assert f"{place.namespace}/plant-1" in last
    assert "force-delete=true" in last
    release(place, "plant-1")


def test_the_hook_finds_no_crds(place: Installation, tmp_path: Path) -> None:
    place.install()
    kubeconfig = place.grant_hook(render("platform", "--namespace", place.namespace), "edge-crds", tmp_path)
    code, said = finished(place.start_hook(kubeconfig, "upgrade-crds", str(tmp_path)))
    assert (code, len(said.splitlines())) == (1, 1)
    assert "has no CRDs" in said
