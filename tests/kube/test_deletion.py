"""Deletions always finish, wait for running tasks up to the drain timeout, and report what they could not clean up."""

from typing import Any

import yaml

from edge_testing.operator.host import Host
from edge_testing.operator.site import RBAC, SERVICE_ACCOUNT, Site
from edge_testing.waiting import eventually, never

SPEC: dict[str, Any] = {"queues": ["press"], "concurrency": 2, "drainTimeoutSeconds": 20}


def leaks(site: Site, name: str) -> str:
    return site.wait_event(name, "CleanupIncomplete")


def test_deletion_drains_and_leaves_nothing(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    (job,) = site.enqueue_held()
    site.wait_job(job, "running")
    site.kubectl("delete", "ew", "plant-7", "--wait=false")
    site.wait_condition("plant-7", "Ready", "Deleting")
    assert site.status("plant-7")["drainDeadline"]
    site.release()
    site.wait_gone("ew", "plant-7")
    assert site.db.state(job) == "succeeded"
    assert site.fleet("plant-7") is None
    for kind, name in (("statefulset", ""), ("secret", ""), ("serviceaccount", ""), ("pvc", ""), ("pod", "-0")):
        # A garbage collector that has just started discovers custom resources within half a minute.
        site.wait_gone(kind, f"edgeworker-plant-7{name}", deadline_s=90)
    assert "CleanupIncomplete" not in site.events("plant-7")


def test_deletion_finishes_with_the_edge_api_down(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    site.api.kill()
    site.kubectl("delete", "ew", "plant-7", "--wait=false")
    site.wait_gone("ew", "plant-7", deadline_s=70)
    assert "worker plant-7 in the fleet" in leaks(site, "plant-7")


def test_deletion_finishes_with_the_secret_gone(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    site.kubectl("delete", "secret", "edgeworker-plant-7")
    site.kubectl("delete", "ew", "plant-7", "--timeout=90s")
    assert site.fleet("plant-7") is None


def test_deletion_continues_after_the_operator_was_killed(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    (job,) = site.enqueue_held()
    site.wait_job(job, "running")
    site.kubectl("delete", "ew", "plant-7", "--wait=false")
    site.wait_condition("plant-7", "Ready", "Deleting")
    site.operators[0].kill()
    site.operators[0].start()
    site.release()
    site.wait_gone("ew", "plant-7")
    assert site.db.state(job) == "succeeded"
    assert site.fleet("plant-7") is None


def test_force_delete_does_not_wait_for_tasks(site: Site) -> None:
    site.apply_worker("plant-7", **(SPEC | {"drainTimeoutSeconds": 3600}))
    site.wait_ready("plant-7")
    (job,) = site.enqueue("sleep 600")
    site.wait_job(job, "running")
    site.kubectl("delete", "ew", "plant-7", "--wait=false")
    never(lambda: site.find("ew", "plant-7") is None, "it did not wait", 2.0)
    site.kubectl("annotate", "ew", "plant-7", "airflow-edge.io/force-delete=true")
    site.wait_gone("ew", "plant-7")
    site.wait_gone("pod", "edgeworker-plant-7-0")
    assert site.fleet("plant-7") is None


def test_lost_node_does_not_block_a_deletion(site: Site) -> None:
    site.apply_worker("plant-7", **(SPEC | {"drainTimeoutSeconds": 1}))
    site.wait_ready("plant-7")
    site.node.lose_power()
    site.kubectl("delete", "ew", "plant-7", "--wait=false")
    # Its grace period of 1 + 45 s must pass: the node might come back.
    site.wait_gone("ew", "plant-7", deadline_s=120)
    assert site.fleet("plant-7") is None


def test_host_that_does_not_stop_loses_its_credential_at_the_deadline(site: Site) -> None:
    with Host(site, "bare-1") as host:
        site.apply_worker("bare-1", mode="External", drainTimeoutSeconds=0)
        site.wait_ready("bare-1")
        (job,) = site.enqueue("sleep 600")
        site.wait_job(job, "running")
        site.kubectl("delete", "ew", "bare-1", "--wait=false")
        site.wait_gone("ew", "bare-1", deadline_s=120)
        assert site.fleet("bare-1") is None
        host.crash()


def test_namespace_can_be_deleted(bare_site: Site) -> None:
    site = bare_site
    home = f"{site.namespace}-operator"
    site.cluster.kubectl("create", "namespace", home)
    # The operator runs elsewhere: rights in the deleted namespace might be removed before the deletion is finished.
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": SERVICE_ACCOUNT}}
    subject = {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": home}
    rules = list(yaml.safe_load_all(RBAC.read_text()))
    site.cluster.apply(account, rules[1], namespace=home)
    site.cluster.kubectl(
        "create",
        "clusterrolebinding",
        home,
        f"--clusterrole=airflow-edge-operator-{site.namespace}",
        f"--serviceaccount={home}:{SERVICE_ACCOUNT}",
    )
    site.cluster.kubectl(
        "-n",
        home,
        "create",
        "rolebinding",
        "leader",
        f"--role={rules[1]['metadata']['name']}",
        f"--serviceaccount={subject['namespace']}:{SERVICE_ACCOUNT}",
    )
    site.start_operator(home=home, lease_namespace=home)
    site.apply_worker("plant-7", **SPEC)
    site.apply_pool("pool", SPEC, replicas=2)
    site.wait_ready("plant-7")
    site.cluster.kubectl("delete", "namespace", site.namespace, "--timeout=110s")
    eventually(lambda: site.fleet("plant-7") is None, "the worker is removed from the fleet")
    site.operators[0].stop()
    site.cluster.kubectl("delete", "namespace", home, "--wait=false")
