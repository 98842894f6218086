"""Workers whose pods the operator runs."""

from typing import Any

from tests.kube.polling import eventually
from tests.kube.site import Site

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
    eventually(lambda: site.condition("plant-7", "Progressing") == ("False", "Settled"), "it settles")
    line = site.kubectl("get", "ew", "plant-7").splitlines()[1]
    assert "idle" in line
    assert "0/2" in line
    assert "Ready" in site.events("plant-7")
