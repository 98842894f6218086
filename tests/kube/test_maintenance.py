"""Maintenance and shutdown through kubectl, and what was set elsewhere."""

from typing import Any

import pytest

from edge_testing.operator.site import Site
from edge_testing.waiting import eventually, never

SPEC: dict[str, Any] = {"queues": ["press"], "concurrency": 2, "drainTimeoutSeconds": 20}
ANNOTATION = "airflow-edge.io/maintenance"


@pytest.fixture
def worker(site: Site) -> str:
    site.apply_worker("plant-7", **SPEC)
    site.wait_ready("plant-7")
    return "plant-7"


def comment(site: Site) -> str | None:
    view = site.fleet("plant-7")
    assert view is not None
    return view["maintenance"]["comment"] if view["maintenance"] else None


def test_annotation_enters_changes_and_ends_maintenance(site: Site, worker: str) -> None:
    (job,) = site.enqueue_held()
    site.wait_job(job, "running")
    site.kubectl("annotate", "ew", worker, f"{ANNOTATION}=replacing the disk")
    site.wait_state(worker, "maintenance pending")
    assert site.condition(worker, "Cordoned") == ("True", "Maintenance")
    assert site.condition(worker, "Drained") == ("False", "TasksRunning")
    site.release()
    site.wait_job(job, "succeeded")
    site.wait_state(worker, "maintenance mode")
    eventually(lambda: site.condition(worker, "Drained") == ("True", "NoTasksRunning"), "it is drained")
    assert comment(site) == "replacing the disk"
    assert site.status(worker)["maintenance"]["comment"] == "replacing the disk"
    site.kubectl("annotate", "--overwrite", "ew", worker, f"{ANNOTATION}=and the fan")
    eventually(lambda: comment(site) == "and the fan", "the comment is changed")
    site.kubectl("annotate", "ew", worker, f"{ANNOTATION}-")
    site.wait_ready(worker)
    eventually(lambda: "requestedMaintenance" not in site.status(worker), "the request is forgotten")
    site.wait_event(worker, "Maintenance")


def test_spec_enters_and_ends_maintenance(site: Site, worker: str) -> None:
    site.apply_worker(worker, **SPEC, maintenance={"enabled": True, "comment": "in the spec"})
    site.wait_state(worker, "maintenance mode")
    assert comment(site) == "in the spec"
    site.apply_worker(worker, **SPEC, maintenance={"enabled": False})
    site.wait_ready(worker)


def test_maintenance_set_elsewhere_is_shown_and_left_alone(site: Site, worker: str) -> None:
    site.admin("PUT", f"/workers/{worker}/maintenance", {"comment": "from elsewhere"})
    site.wait_state(worker, "maintenance mode")
    assert site.status(worker)["maintenance"]["comment"] == "from elsewhere"
    never(lambda: comment(site) != "from elsewhere", "the operator overwrites it", 2.0)
    # A change of the object does not end it either.
    site.apply_worker(worker, **(SPEC | {"concurrency": 3}))
    eventually(lambda: site.status(worker).get("slots") == "0/3", "it has three slots")
    assert comment(site) == "from elsewhere"
    site.admin("DELETE", f"/workers/{worker}/maintenance")
    site.wait_ready(worker)


def test_comment_changed_elsewhere_is_left_alone(site: Site, worker: str) -> None:
    site.kubectl("annotate", "ew", worker, f"{ANNOTATION}=mine")
    site.wait_state(worker, "maintenance mode")
    site.admin("PUT", f"/workers/{worker}/maintenance", {"comment": "theirs"})
    eventually(lambda: site.status(worker)["maintenance"]["comment"] == "theirs", "it is shown")
    never(lambda: comment(site) != "theirs", "the operator overwrites it", 2.0)
    site.kubectl("annotate", "ew", worker, f"{ANNOTATION}-")
    site.wait_ready(worker)


def test_request_survives_the_operator(site: Site, worker: str) -> None:
    site.kubectl("annotate", "ew", worker, f"{ANNOTATION}=mine")
    site.wait_state(worker, "maintenance mode")
    site.operators[0].kill()
    site.kubectl("annotate", "ew", worker, f"{ANNOTATION}-")
    site.operators[0].start()
    site.wait_ready(worker)
