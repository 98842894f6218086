"""Objects that the operator did not create: it neither changes them, nor mounts them, nor has them deleted."""

from typing import Any

from sqlalchemy import select

from edge_operator.api import names
from edge_store.schema.tables import join_token
from edge_testing.kubernetes.api import Obj
from edge_testing.operator.site import Site

SPEC: dict[str, Any] = {"queues": ["press"], "concurrency": 2, "drainTimeoutSeconds": 20}
LABELS = {"app": "airflow"}

FOREIGN: dict[str, Obj] = {
    "secret": {"apiVersion": "v1", "kind": "Secret", "stringData": {"fernet-key": "key", "join-token": "theirs"}},
    "serviceaccount": {"apiVersion": "v1", "kind": "ServiceAccount"},
    "pvc": {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    },
    "statefulset": {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "spec": {
            "replicas": 0,
            "serviceName": "airflow",
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [{"name": "airflow", "image": "airflow:1"}]},
            },
        },
    },
}
"""One object of each kind that the operator creates, as somebody else made it."""


def test_objects_of_others_are_left_alone_and_block_the_worker(site: Site) -> None:
    before = {}
    for kind, obj in FOREIGN.items():
        name = names.child_name(f"my-{kind}")
        site.cluster.apply(obj | {"metadata": {"name": name, "labels": LABELS}}, namespace=site.namespace)
        before[kind] = site.get(kind, name)
        site.apply_worker(f"my-{kind}", **SPEC)
    for kind in FOREIGN:
        worker, name = f"my-{kind}", names.child_name(f"my-{kind}")
        site.wait_condition(worker, "Ready", "NameTaken")
        assert site.condition(worker, "Progressing") == ("False", "Blocked")
        message = site.wait_event(worker, "NameTaken")
        assert f"{FOREIGN[kind]['kind']} {name}" in message
        assert "delete" in message, "it says how to fix it"
        assert without_status(site.get(kind, name)) == without_status(before[kind])
        assert site.pod(worker) is None
    assert not site.db.rows(select(join_token.c.id).where(join_token.c.worker_pattern == "my-secret")), (
        "no token is created that can't be stored"
    )
    # Once the name is free, the worker starts without further help.
    for kind in FOREIGN:
        site.kubectl("delete", kind, names.child_name(f"my-{kind}"))
    for kind in FOREIGN:
        site.wait_ready(f"my-{kind}", deadline_s=60)


def test_the_objects_of_a_deleted_worker_do_not_pass_to_one_of_its_name(site: Site) -> None:
    spec = SPEC | {"spool": {"type": "EmptyDir"}}
    site.apply_worker("plant-7", **spec)
    site.wait_ready("plant-7")
    name = names.child_name("plant-7")
    # A finalizer of somebody else keeps the old Secret, as a slow garbage collector does.
    site.kubectl("patch", "secret", name, "--type=merge", "-p", '{"metadata": {"finalizers": ["example.com/keep"]}}')
    site.kubectl("delete", "ew", "plant-7")
    site.wait_gone("ew", "plant-7")
    site.apply_worker("plant-7", **spec)
    site.wait_condition("plant-7", "Ready", "NameTaken")
    site.kubectl("patch", "secret", name, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    site.wait_ready("plant-7", deadline_s=60)


def without_status(obj: Obj) -> Obj:
    """Return what an object's owner wrote; controllers write the rest."""
    meta = {key: obj["metadata"].get(key) for key in ("uid", "labels", "ownerReferences", "annotations")}
    return {"metadata": meta, "spec": obj.get("spec"), "data": obj.get("data")}
