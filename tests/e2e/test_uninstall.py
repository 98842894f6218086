"""helm uninstall keeps what docs/install.md says, and nothing else."""

from edge_testing.release.release import NAME, Release
from edge_testing.waiting import eventually

CRDS = {"edgeworkers.airflow-edge.io", "edgeworkerpools.airflow-edge.io"}
KEPT = {
    ("Secret", f"{NAME}-airflow"),
    ("Secret", f"{NAME}-database"),
    ("Secret", f"{NAME}-edge-api-database"),
    ("Secret", f"{NAME}-fleet-page-credential"),
    ("Secret", f"{NAME}-operator-credential"),
    ("PersistentVolumeClaim", f"data-{NAME}-postgresql-0"),
}
OTHERS = {
    ("ConfigMap", "dags"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("NetworkPolicy", "edge-workers"),
    ("ServiceAccount", "default"),
}
"""Objects of the suite and of every namespace."""
PASSING = {"Event", "PodMetrics"}


def test_what_remains(release: Release, worker: str) -> None:
    release.helm("uninstall", NAME, "--wait", "--timeout", "5m")
    # helm waits for the objects that it created; their pods end later.
    eventually(lambda: not release.pods(""), "all pods are gone", 120)
    eventually(lambda: not release.get("endpoints,endpointslices")["items"], "so are addresses of Services", 60)
    kinds = release.kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    items = release.get(",".join(kinds))["items"]
    found = {(item["kind"], item["metadata"]["name"]) for item in items if item["kind"] not in PASSING}
    found = {(kind, name) for kind, name in found if not name.startswith("default-token-")}
    assert found == KEPT | OTHERS
    crds = {item["metadata"]["name"] for item in release.get("crd")["items"]}
    assert crds >= CRDS
    rights = [item for kind in ("clusterrole", "clusterrolebinding") for item in release.get(kind)["items"]]
    assert not [item for item in rights if item["metadata"]["labels"].get("app.kubernetes.io/instance") == NAME]
