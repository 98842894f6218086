"""Faults: the operator killed, the apiserver restarted, no answer from the edge API. The outcome stays the same."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from edge_testing.operator.site import Site
from edge_testing.relay import LOCALHOST, Relay
from edge_testing.waiting import eventually

SPEC: dict[str, Any] = {"queues": ["press"], "concurrency": 1, "drainTimeoutSeconds": 20}


def all_ready(site: Site, *names: str) -> None:
    for name in names:
        site.wait_ready(name, deadline_s=60)


def test_operator_killed_while_it_creates(site: Site) -> None:
    site.apply_pool("pool", SPEC, replicas=3)
    eventually(lambda: site.find("ew", "pool-0"), "it has begun")
    site.operators[0].kill()
    site.operators[0].start()
    all_ready(site, "pool-0", "pool-1", "pool-2")
    assert len(site.all("ew")) == 3


def test_operator_killed_while_it_rolls(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    (job,) = site.enqueue_held()
    site.wait_job(job, "running")
    before = site.uid("pod", "edgeworker-plant-7-0")
    site.apply_worker("plant-7", **SPEC, template={"env": [{"name": "NEW", "value": "1"}]})
    site.wait_condition("plant-7", "Progressing", "Rolling")
    site.operators[0].kill()
    site.operators[0].start()
    site.release()
    site.wait_job(job, "succeeded")
    site.wait_another("pod", "edgeworker-plant-7-0", before)
    site.wait_condition("plant-7", "Progressing", "UpToDate")
    site.wait_ready("plant-7")


def test_operator_killed_while_it_scales_down(site: Site) -> None:
    site.apply_pool("pool", SPEC, replicas=2)
    all_ready(site, "pool-0", "pool-1")
    jobs = site.enqueue_held(2)
    for job in jobs:
        site.wait_job(job, "running")
    site.kubectl("scale", "ewp", "pool", "--replicas=1")
    eventually(lambda: any("deletionTimestamp" in item["metadata"] for item in site.all("ew")), "it has begun")
    site.operators[0].kill()
    site.operators[0].start()
    site.release()
    for job in jobs:
        site.wait_job(job, "succeeded")
    eventually(lambda: len(site.all("ew")) == 1, "one is left")


def test_apiserver_restarted(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    site.operators[0].roles_were_away = True
    site.cluster.stop_apiserver()
    site.cluster.start_apiserver()
    site.apply_worker("plant-8", **SPEC)
    site.wait_ready("plant-8", deadline_s=90)
    site.kubectl("annotate", "ew", "plant-7", "airflow-edge.io/maintenance=after")
    site.wait_state("plant-7", "maintenance mode")
    site.kubectl("delete", "ew", "plant-7", "plant-8", "--timeout=90s")
    assert site.operators[0].running


def test_crds_that_are_not_served_for_a_moment(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    operator = site.operators[0]
    try:
        serve_workers(site, served=False)
        eventually(lambda: "the operator restarts" in operator.log.read_text(), "it has noticed", 60)
    finally:
        serve_workers(site, served=True)
    site.apply_worker("plant-8", **SPEC)
    site.wait_ready("plant-8", deadline_s=90)
    assert operator.running


def serve_workers(site: Site, *, served: bool) -> None:
    """Have the apiserver serve EdgeWorkers or not, as for a moment after its start; the objects stay."""
    change = [{"op": "replace", "path": "/spec/versions/0/served", "value": served}]
    crd = "edgeworkers.airflow-edge.io"
    site.cluster.kubectl("patch", "crd", crd, "--type=json", "--patch", json.dumps(change))
    if served:
        path = f"/apis/airflow-edge.io/v1alpha1/namespaces/{site.namespace}/edgeworkers"
        ask = ("get", "--raw", path)
        eventually(lambda: site.cluster.try_kubectl(*ask).returncode == 0, "EdgeWorkers are served again", 60)


def test_changes_while_no_watch_runs_are_found(site: Site) -> None:
    # The next periodic full pass is five minutes away.
    for name in ("plant-7", "plant-8", "plant-9"):
        site.apply_worker(name, **SPEC)
    all_ready(site, "plant-7", "plant-8", "plant-9")
    before = site.uid("statefulset", "edgeworker-plant-7")
    operator = site.operators[0]
    operator.roles_were_away = True
    operator.pause()
    # This ends its connections, so that none of the next changes is buffered in them.
    site.cluster.stop_apiserver()
    site.cluster.start_apiserver()
    site.kubectl("delete", "statefulset", "edgeworker-plant-7", "--wait=false")
    site.kubectl("annotate", "ew", "plant-8", "airflow-edge.io/maintenance=fan")
    site.kubectl("delete", "ew", "plant-9", "--wait=false")
    site.wait_gone("statefulset", "edgeworker-plant-7")
    site.cluster.compact()
    operator.resume()
    site.wait_state("plant-8", "maintenance mode", deadline_s=60)
    site.wait_another("statefulset", "edgeworker-plant-7", before, deadline_s=60)
    site.wait_gone("ew", "plant-9", deadline_s=60)
    site.wait_ready("plant-7", deadline_s=60)
    assert operator.running


@pytest.mark.parametrize("step", ["create", "maintenance", "roll"])
def test_edge_api_down_at_a_step(site: Site, step: str) -> None:
    if step == "create":
        site.api.kill()
        site.apply_worker("plant-7", **SPEC)
        eventually(lambda: site.pod("plant-7"), "the pod is created all the same")
    else:
        site.apply_worker("plant-7", **SPEC)
        site.wait_ready("plant-7")
        site.api.kill()
        if step == "maintenance":
            site.kubectl("annotate", "ew", "plant-7", "airflow-edge.io/maintenance=fan")
        else:
            site.apply_worker("plant-7", **SPEC, template={"env": [{"name": "NEW", "value": "1"}]})
    site.wait_condition("plant-7", "Ready", "EdgeApiUnreachable", deadline_s=60)
    site.wait_event("plant-7", "EdgeApiUnreachable")
    site.api.start()
    site.api.wait_ready()
    if step == "maintenance":
        site.wait_state("plant-7", "maintenance mode", deadline_s=60)
    else:
        site.wait_ready("plant-7", deadline_s=90)


def test_two_operators_do_not_fight(site: Site) -> None:
    site.start_operator(identity="second")
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    first, second = site.operators
    assert "airflow_edge_operator_leading 1.0" in first.metrics()
    assert "airflow_edge_operator_leading 0.0" in second.metrics()
    # After a clean stop another operator leads at once.
    assert first.end() == 0
    eventually(lambda: "airflow_edge_operator_leading 1.0" in second.metrics(), "the second leads")
    site.kubectl("annotate", "ew", "plant-7", "airflow-edge.io/maintenance=fan")
    site.wait_state("plant-7", "maintenance mode")


def test_whole_cluster_is_watched_and_a_killed_leader_is_replaced(bare_site: Site) -> None:
    site = bare_site
    site.grant(cluster_wide=True)
    # Unique names: this operator also sees objects that other tests left behind.
    ours, other = f"{site.namespace}-w", f"{site.namespace}-other"
    site.cluster.kubectl("create", "namespace", other)
    first, second = (
        site.start_operator(namespaces="", external_namespace=site.namespace, identity=identity)
        for identity in ("first", "second")
    )
    worker = {"apiVersion": "airflow-edge.io/v1alpha1", "kind": "EdgeWorker", "metadata": {"name": ours}, "spec": SPEC}
    site.cluster.apply(worker, namespace=other)
    eventually(lambda: site.cluster.get("statefulset", "-n", other)["items"], "its StatefulSet is created")
    first.kill()
    site.cluster.kubectl("-n", other, "annotate", "ew", ours, "airflow-edge.io/shutdown=true")

    def replicas() -> int:
        found: int = site.cluster.get("statefulset", "-n", other)["items"][0]["spec"]["replicas"]
        return found

    # The lease of a killed leader expires after 15 s.
    eventually(lambda: replicas() == 0, "the second leads", 60)
    assert "airflow_edge_operator_leading 1.0" in second.metrics()
    site.cluster.kubectl("-n", other, "delete", "ew", ours, "--timeout=90s")
    site.cluster.kubectl("delete", "namespace", other, "--wait=false")


def test_a_leader_whose_calls_hang_steps_down_before_another_one_leads(bare_site: Site) -> None:
    site = bare_site
    with Relay(urlsplit(site.cluster.url).port or 0) as relay:
        first = site.start_operator(identity="first", apiserver_url=f"https://{LOCALHOST}:{relay.port}")
        eventually(lambda: "airflow_edge_operator_leading 1.0" in first.metrics(), "the first leads")
        second = site.start_operator(identity="second")
        relay.stop_forwarding()
        # The second one takes over 15 s after the last renewal.
        eventually(lambda: "airflow_edge_operator_leading 1.0" in second.metrics(), "the second leads", 60)
        assert "airflow_edge_operator_leading 0.0" in first.metrics(), "two lead"
        first.kill()
