"""Workers whose pods the operator runs."""

from typing import Any

from edge_testing.operator.site import Site
from edge_testing.waiting import eventually, never

SPEC: dict[str, Any] = {"queues": ["press"], "concurrency": 2, "drainTimeoutSeconds": 20}


def test_apply_starts_a_worker_that_runs_jobs(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    (job,) = site.enqueue("true")
    site.wait_job(job, "succeeded")
    status = site.status("plant-7")
    assert status["queues"] == ["press"]
    assert status["slots"] == "0/2"
    assert status["observedGeneration"] == site.worker("plant-7")["metadata"]["generation"]
    eventually(lambda: site.condition("plant-7", "Progressing") == ("False", "UpToDate"), "nothing changes any more")
    line = site.kubectl("get", "ew", "plant-7").splitlines()[1]
    assert "idle" in line
    assert "0/2" in line
    site.wait_event("plant-7", "Ready")


def test_pod_is_restricted_and_has_its_identity_from_a_secret(site: Site) -> None:
    bundle = {
        "name": "dags",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": "/d"},
    }
    template = {
        "image": "mine:1",
        "env": [{"name": "PLANT", "value": "7"}],
        "resources": {"requests": {"cpu": "1000m", "memory": "256Mi"}},
        "nodeSelector": {"site": "north"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "labels": {"team": "press"},
    }
    site.node.schedules = False
    site.apply_worker("plant-7", **SPEC, template=template, dagBundles=[bundle])
    pod = eventually(lambda: site.find("pod", "edgeworker-plant-7-0"), "the pod is created")
    assert pod is not None
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert container["image"] == "mine:1"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["automountServiceAccountToken"] is False
    assert spec["terminationGracePeriodSeconds"] >= SPEC["drainTimeoutSeconds"]
    assert spec["nodeSelector"] == {"site": "north"}
    assert container["readinessProbe"]["exec"]["command"] == ["edge-worker", "status"]
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    assert env["PLANT"] == "7"
    assert "LocalDagBundle" in env["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"]
    assert not [name for name, value in env.items() if "edgej_" in value], "a token is in the environment"
    assert pod["metadata"]["labels"]["team"] == "press"
    secret = site.get("secret", "edgeworker-plant-7")
    assert secret["metadata"]["ownerReferences"][0]["name"] == "plant-7"
    claim = site.get("pvc", "edgeworker-plant-7")
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"
    site.wait_condition("plant-7", "Ready", "PodPending")


def test_queues_and_slots_change_without_a_restart(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    uid = site.uid("pod", "edgeworker-plant-7-0")
    site.apply_worker("plant-7", **(SPEC | {"queues": ["press", "paint"], "concurrency": 5}))
    eventually(lambda: site.status("plant-7").get("slots") == "0/5", "it has five slots")
    eventually(lambda: sorted(site.status("plant-7")["queues"]) == ["paint", "press"], "it serves both queues")
    (job,) = site.enqueue("true", queue="paint")
    site.wait_job(job, "succeeded")
    site.apply_worker("plant-7", **(SPEC | {"queues": ["paint"], "concurrency": 5}))
    eventually(lambda: site.status("plant-7")["queues"] == ["paint"], "it serves one queue")
    assert site.pod("plant-7")["metadata"]["uid"] == uid  # type: ignore[index]


def test_spec_change_replaces_the_pod_only_after_the_drain(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    before = site.uid("pod", "edgeworker-plant-7-0")
    (job,) = site.enqueue_held()
    site.wait_job(job, "running")
    site.apply_worker("plant-7", **SPEC, template={"env": [{"name": "NEW", "value": "1"}]})
    site.wait_condition("plant-7", "Progressing", "Rolling")
    site.release()
    site.wait_job(job, "succeeded")
    site.wait_another("pod", "edgeworker-plant-7-0", before)
    site.wait_condition("plant-7", "Progressing", "UpToDate")
    site.wait_ready("plant-7")
    environment = site.get("pod", "edgeworker-plant-7-0")["spec"]["containers"][0]["env"]
    assert {"name": "NEW", "value": "1"} in environment


def test_worker_returns_with_its_identity_after_an_oom_kill(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    first = site.fleet("plant-7")
    site.node.kill_container("edgeworker-plant-7-0")
    assert first is not None
    seen = first["last_heartbeat"]
    eventually(lambda: (site.fleet("plant-7") or first)["last_heartbeat"] > seen, "it sends heartbeats again")
    site.wait_ready("plant-7")
    (job,) = site.enqueue("true")
    site.wait_job(job, "succeeded")


def test_worker_returns_with_a_new_token_after_an_eviction_that_lost_its_volume(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC, spool={"type": "EmptyDir"})
    site.wait_ready("plant-7")
    before = site.uid("pod", "edgeworker-plant-7-0")
    site.node.evict("edgeworker-plant-7-0")
    site.wait_another("pod", "edgeworker-plant-7-0", before)
    site.wait_ready("plant-7", deadline_s=60)
    (job,) = site.enqueue("true")
    site.wait_job(job, "succeeded")


def test_objects_that_a_person_edits_or_deletes_are_restored(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    site.kubectl("scale", "statefulset", "edgeworker-plant-7", "--replicas=0")
    eventually(lambda: site.get("statefulset", "edgeworker-plant-7")["spec"]["replicas"] == 1, "one replica again")
    site.kubectl("delete", "serviceaccount", "edgeworker-plant-7")
    eventually(lambda: site.find("serviceaccount", "edgeworker-plant-7"), "the service account is back")
    before = site.uid("statefulset", "edgeworker-plant-7")
    site.kubectl("delete", "statefulset", "edgeworker-plant-7")
    eventually(
        lambda: (
            (site.find("statefulset", "edgeworker-plant-7") or {"metadata": {"uid": before}})["metadata"]["uid"]
            != before
        ),
        "the StatefulSet is back",
    )
    site.wait_ready("plant-7", deadline_s=60)


def test_secret_that_a_person_deletes_is_created_again_when_needed(site: Site) -> None:
    site.node.schedules = False
    site.apply_worker("plant-7", **SPEC)
    eventually(lambda: site.find("secret", "edgeworker-plant-7"), "the Secret is created")
    eventually(lambda: site.pod("plant-7"), "the pod is created")
    site.kubectl("delete", "secret", "edgeworker-plant-7")
    site.node.schedules = True
    site.wait_ready("plant-7", deadline_s=60)


def test_invalid_template_is_reported_and_does_no_harm(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    before = site.uid("pod", "edgeworker-plant-7-0")
    site.apply_worker("plant-7", **SPEC, template={"nodeSelektor": {"a": "b"}})
    site.wait_condition("plant-7", "Ready", "InvalidSpec")
    assert "nodeSelektor" in site.wait_event("plant-7", "InvalidSpec")
    site.apply_worker("plant-7", **SPEC, template={"volumeMounts": [{"name": "nowhere", "mountPath": "/x"}]})
    site.wait_condition("plant-7", "Ready", "InvalidTemplate")
    assert "nowhere" in site.wait_event("plant-7", "InvalidTemplate")
    never(lambda: site.uid("pod", "edgeworker-plant-7-0") != before, "the pod was replaced", 1.0)
    site.apply_worker("plant-7", **SPEC, template={})
    site.wait_ready("plant-7")
    assert site.pod("plant-7")["metadata"]["uid"] == before  # type: ignore[index]


def test_shutdown_by_annotation_drains_and_keeps_it_down(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    (job,) = site.enqueue_held()
    site.wait_job(job, "running")
    site.kubectl("annotate", "ew", "plant-7", "airflow-edge.io/shutdown=true")
    site.wait_condition("plant-7", "Cordoned", "Terminating")
    site.release()
    site.wait_job(job, "succeeded")
    site.wait_condition("plant-7", "Ready", "ShutDown")
    site.wait_state("plant-7", "offline")
    # The worker disconnects before its process ends and the node reports that.
    eventually(lambda: site.pod("plant-7") is None, "the pod is gone")
    site.kubectl("annotate", "ew", "plant-7", "airflow-edge.io/shutdown-")
    site.wait_ready("plant-7")


def test_shutdown_that_was_requested_elsewhere_lasts(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    (job,) = site.enqueue_held()
    site.wait_job(job, "running")
    site.admin("PUT", "/workers/plant-7/shutdown")
    eventually(lambda: "airflow-edge.io/shutdown" in site.worker("plant-7")["metadata"]["annotations"], "it is kept")
    eventually(lambda: (site.pod("plant-7") or {"metadata": {}})["metadata"].get("deletionTimestamp"), "the pod stops")
    site.release()
    site.wait_condition("plant-7", "Ready", "ShutDown")
    eventually(lambda: site.pod("plant-7") is None, "the pod is gone")
    assert site.db.state(job) == "succeeded"
    site.wait_event("plant-7", "ShutdownRequested")
    site.kubectl("annotate", "ew", "plant-7", "airflow-edge.io/shutdown-")
    site.wait_ready("plant-7")
    eventually(lambda: "requestedShutdown" not in site.status("plant-7"), "the request is forgotten")
    assert "airflow-edge.io/shutdown" not in site.worker("plant-7")["metadata"]["annotations"]


def test_two_objects_cannot_have_one_worker(site: Site) -> None:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    site.apply_worker("other", **SPEC, workerName="plant-7")
    site.wait_condition("other", "Ready", "NameTaken")
    site.kubectl("delete", "ew", "other")
    site.wait_gone("ew", "other")
    site.wait_ready("plant-7")
    assert site.fleet("plant-7") is not None
