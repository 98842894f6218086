"""Pools: scaling, rollouts, autoscaling."""

import json
from typing import Any

from edge_testing.operator.site import Site
from edge_testing.waiting import eventually, never

TEMPLATE: dict[str, Any] = {"queues": ["press"], "concurrency": 1, "drainTimeoutSeconds": 20}


def names(site: Site) -> list[str]:
    items = site.all("ew", "airflow-edge.io/pool=pool")
    return sorted(item["metadata"]["name"] for item in items if not item["metadata"].get("deletionTimestamp"))


def pool(site: Site) -> dict[str, Any]:
    status: dict[str, Any] = (site.find("ewp", "pool") or {}).get("status") or {}
    return status


def wait_ready(site: Site, count: int, deadline_s: float = 60) -> None:
    eventually(
        lambda: pool(site).get("readyReplicas") == count and pool(site).get("replicas") == count,
        f"{count} workers are ready",
        deadline_s,
    )


def test_scale_up_and_down_drains_the_idlest_first(site: Site) -> None:
    site.apply_pool("pool", TEMPLATE, replicas=1)
    wait_ready(site, 1)
    (job,) = site.enqueue_held()
    site.wait_job(job, "running")
    site.kubectl("scale", "ewp", "pool", "--replicas=3")
    wait_ready(site, 3)
    assert names(site) == ["pool-0", "pool-1", "pool-2"]
    assert pool(site)["slots"] == "1/3"
    site.kubectl("scale", "ewp", "pool", "--replicas=1")
    # The busy one stays, although it is as new as the others.
    eventually(lambda: names(site) == ["pool-0"], "the idle ones go")
    site.release()
    site.wait_job(job, "succeeded")
    eventually(lambda: site.fleet("pool-1") is None and site.fleet("pool-2") is None, "they are removed from the fleet")
    eventually(lambda: pool(site)["replicas"] == 1, "the pool shows it")


def test_scale_down_never_kills_a_running_task(site: Site) -> None:
    site.apply_pool("pool", TEMPLATE, replicas=2)
    wait_ready(site, 2)
    jobs = site.enqueue_held(2)
    for job in jobs:
        site.wait_job(job, "running")
    site.kubectl("scale", "ewp", "pool", "--replicas=0")
    eventually(lambda: names(site) == [], "all are being deleted")
    site.release()
    for job in jobs:
        site.wait_job(job, "succeeded")
    eventually(lambda: site.all("ew") == [], "all are gone")


def test_rollout_keeps_its_limits_and_changing_them_restarts_nothing(site: Site) -> None:
    site.apply_pool("pool", TEMPLATE, replicas=2, rollout={"maxUnavailable": 1})
    wait_ready(site, 2)
    before = [site.uid("pod", f"edgeworker-pool-{number}-0") for number in (0, 1)]
    site.apply_pool("pool", TEMPLATE, replicas=2, rollout={"maxUnavailable": "50%", "maxSurge": 0})
    site.apply_pool("pool", TEMPLATE | {"concurrency": 2}, replicas=2, rollout={"maxUnavailable": 1})
    eventually(lambda: pool(site).get("slots") == "0/4", "all have two slots")
    assert [site.uid("pod", f"edgeworker-pool-{number}-0") for number in (0, 1)] == before
    changed = TEMPLATE | {"template": {"env": [{"name": "NEW", "value": "1"}]}}
    site.apply_pool("pool", changed, replicas=2, rollout={"maxUnavailable": 1})

    def rolled() -> bool:
        there = [site.uid("pod", f"edgeworker-pool-{number}-0") for number in (0, 1)]
        assert pool(site)["readyReplicas"] >= 1, "more than one is out of service"
        return all(there) and not set(there) & set(before) and pool(site)["readyReplicas"] == 2

    eventually(rolled, "all pods are new", 90)
    assert pool(site)["updatedReplicas"] == 2


def test_surge_adds_before_it_removes(site: Site) -> None:
    site.apply_pool("pool", TEMPLATE, replicas=1, rollout={"maxUnavailable": 0, "maxSurge": 1})
    wait_ready(site, 1)
    changed = TEMPLATE | {"template": {"env": [{"name": "NEW", "value": "1"}]}}
    site.apply_pool("pool", changed, replicas=1, rollout={"maxUnavailable": 0, "maxSurge": 1})
    eventually(lambda: names(site) == ["pool-0", "pool-1"], "one is added")

    def rolled() -> bool:
        assert pool(site)["readyReplicas"] >= 1, "none is in service"
        return names(site) == ["pool-1"]

    eventually(rolled, "the old one goes")
    wait_ready(site, 1)


def test_failing_template_stops_the_rollout(site: Site) -> None:
    site.apply_pool("pool", TEMPLATE, replicas=2, rollout={"maxUnavailable": 1})
    wait_ready(site, 2)
    site.node.schedules = False
    broken = TEMPLATE | {"template": {"nodeSelector": {"no": "such-node"}}}
    site.apply_pool("pool", broken, replicas=2, rollout={"maxUnavailable": 1})
    eventually(lambda: pool(site).get("readyReplicas") == 1, "one is replaced")
    never(lambda: pool(site)["readyReplicas"] < 1, "the rollout continues", 2.0)
    assert site.condition("pool", "Ready", "ewp") == ("False", "TooFewReady")


def test_autoscaling_follows_the_queue_and_returns_to_zero(site: Site) -> None:
    scaling = {"minReplicas": 0, "maxReplicas": 3, "targetSlotUtilization": 100, "scaleDownStabilizationSeconds": 2}
    site.apply_pool("pool", TEMPLATE, autoscaling=scaling)
    eventually(lambda: pool(site).get("desiredReplicas") == 0, "none is desired")
    assert names(site) == []
    jobs = site.enqueue_held(5)
    eventually(lambda: len(names(site)) == 3, "the maximum is reached")
    site.release()
    for job in jobs:
        site.wait_job(job, "succeeded", deadline_s=60)
    eventually(lambda: names(site) == [], "none is left", 60)
    site.wait_event("pool", "Scaling")


def test_horizontal_pod_autoscaler_can_scale_a_pool(site: Site) -> None:
    site.apply_pool("pool", TEMPLATE, replicas=1)
    wait_ready(site, 1)
    path = f"/apis/airflow-edge.io/v1alpha1/namespaces/{site.namespace}/edgeworkerpools/pool/scale"
    scale = json.loads(site.kubectl("get", "--raw", path))
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
    # It measures the pods that the selector selects.
    pods = site.get("pods", "-l", scale["status"]["selector"])["items"]
    assert [pod["metadata"]["name"] for pod in pods] == ["edgeworker-pool-0-0"]
    scale["spec"]["replicas"] = 2
    site.kubectl("replace", "--raw", path, "-f", "-", stdin=json.dumps(scale))
    wait_ready(site, 2)
    assert json.loads(site.kubectl("get", "--raw", path))["status"]["replicas"] == 2


def test_pending_pods_do_not_count_and_do_not_multiply(site: Site) -> None:
    scaling = {"minReplicas": 0, "maxReplicas": 5, "targetSlotUtilization": 100, "scaleDownStabilizationSeconds": 2}
    site.node.schedules = False
    site.apply_pool("pool", TEMPLATE, autoscaling=scaling)
    site.enqueue("true", count=2)
    eventually(lambda: len(names(site)) == 2, "one for each job")
    never(lambda: len(names(site)) != 2, "more are added", 3.0)
    assert pool(site)["slotsTotal"] == 0
    assert pool(site)["readyReplicas"] == 0


def test_deleting_a_pool_drains_its_workers(site: Site) -> None:
    site.apply_pool("pool", TEMPLATE, replicas=1)
    wait_ready(site, 1)
    (job,) = site.enqueue_held()
    site.wait_job(job, "running")
    site.kubectl("delete", "ewp", "pool")
    eventually(lambda: names(site) == [], "its worker is being deleted")
    site.release()
    site.wait_job(job, "succeeded")
    eventually(lambda: site.all("ew") == [], "its workers are gone")
    assert site.fleet("pool-0") is None


def test_pool_with_an_invalid_template_says_so(site: Site) -> None:
    site.apply_pool("pool", TEMPLATE | {"template": {"imagee": "x"}}, replicas=1)
    site.wait_condition("pool", "Ready", "InvalidSpec", "ewp")
    assert "imagee" in site.wait_event("pool", "InvalidSpec")
    site.apply_pool("pool", TEMPLATE | {"template": {}}, replicas=1)
    wait_ready(site, 1)
