"""External workers: they are shown, and managed like the others."""

import base64

from edge_testing.operator.host import Host
from edge_testing.operator.site import Site
from edge_testing.waiting import eventually


def test_worker_that_enrolled_without_an_object_appears(site: Site) -> None:
    with Host(site, "bare-1") as host:
        eventually(lambda: site.fleet("bare-1"), f"the host joins the fleet: {host.log}")
        eventually(lambda: site.find("ew", "bare-1"), "it appears")
        site.wait_ready("bare-1")
        assert site.worker("bare-1")["spec"]["mode"] == "External"
        assert site.find("secret", "edgeworker-bare-1") is None
        assert site.find("statefulset", "edgeworker-bare-1") is None
        host.crash()
        site.wait_condition("bare-1", "Ready", "HeartbeatLost")
        site.wait_event("bare-1", "HeartbeatLost")


def test_maintenance_and_shutdown_by_annotation(site: Site) -> None:
    with Host(site, "bare-1") as host:
        eventually(lambda: site.find("ew", "bare-1"), "it appears")
        site.wait_ready("bare-1")
        site.kubectl("annotate", "ew", "bare-1", "airflow-edge.io/maintenance=fan")
        site.wait_state("bare-1", "maintenance mode")
        site.kubectl("annotate", "ew", "bare-1", "airflow-edge.io/maintenance-")
        site.wait_ready("bare-1")
        site.kubectl("annotate", "ew", "bare-1", "airflow-edge.io/shutdown=now")
        eventually(lambda: not host.running, "the agent stops")
        site.wait_state("bare-1", "offline")
        site.kubectl("annotate", "ew", "bare-1", "airflow-edge.io/shutdown-")
        eventually(lambda: "requestedShutdown" not in site.status("bare-1"), "the request is forgotten")
        host.start()
        site.wait_ready("bare-1")


def test_deletion_drains_and_removes_the_worker(site: Site) -> None:
    with Host(site, "bare-1") as host:
        eventually(lambda: site.find("ew", "bare-1"), "it appears")
        site.wait_ready("bare-1")
        (job,) = site.enqueue_held()
        site.wait_job(job, "running")
        site.kubectl("delete", "ew", "bare-1", "--wait=false")
        # Or Terminating, if the agent was faster.
        eventually(lambda: site.condition("bare-1", "Cordoned")[0] == "True", "it takes no more jobs")
        site.release()
        site.wait_job(job, "succeeded")
        site.wait_gone("ew", "bare-1")
        eventually(lambda: not host.running, "the agent stops")
        assert site.fleet("bare-1") is None
        # Its credential is revoked.
        host.start()
        eventually(lambda: not host.running, "the agent gives up")
        assert site.find("ew", "bare-1") is None


def test_worker_removed_elsewhere_disappears(site: Site) -> None:
    with Host(site, "bare-1") as host:
        eventually(lambda: site.find("ew", "bare-1"), "it appears")
        host.end()
        site.wait_state("bare-1", "offline")
        site.admin("DELETE", "/workers/bare-1")
        site.wait_gone("ew", "bare-1")


def test_object_that_a_person_creates_says_how_to_start_its_worker(site: Site) -> None:
    site.apply_worker("bare-2", mode="External", queues=["press"], team=None)
    site.wait_condition("bare-2", "Registered", "NeverEnrolled")
    how: str = eventually(lambda: site.status("bare-2").get("howToStart") or "", "it says how to start")
    assert "edge-worker enroll" in how
    assert "--name bare-2" in how
    secret = site.get("secret", site.status("bare-2")["joinTokenSecret"])
    token = base64.b64decode(secret["data"]["join-token"]).decode()
    assert token not in how
    with Host(site, "bare-2", token=token):
        site.wait_ready("bare-2")
        assert "howToStart" not in site.status("bare-2")


def test_worker_names_that_kubernetes_does_not_allow_are_mapped(site: Site) -> None:
    with Host(site, "Plant_7.North"):
        found = eventually(lambda: site.all("ew"), "it appears")
        assert found[0]["spec"]["workerName"] == "Plant_7.North"
        name = found[0]["metadata"]["name"]
        assert name.startswith("plant-7-north-")
        site.wait_ready(name)
        site.kubectl("delete", "ew", name, "--timeout=90s")
        assert site.fleet("Plant_7.North") is None
