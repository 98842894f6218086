"""A real Prometheus scrapes the platform: no alert fires on a healthy platform, and the dashboard has data."""

import math
import re
from collections.abc import Iterator

import pytest

from edge_testing.figures import figures
from edge_testing.release.prometheus import Prometheus
from edge_testing.release.release import Release
from edge_testing.waiting import eventually

COMPONENTS = {"edge-edge-api", "edge-operator"}
MAINTENANCE = "airflow-edge.io/maintenance"
WAITING = ("airflow_edge_queue_depth", "airflow_edge_queue_oldest_seconds")
"""Metrics that exist only while jobs wait."""
TROUBLE = "airflow_edge_fenced_total"
"""Metrics that exist only after a late report."""


@pytest.fixture(scope="module")
def prometheus(release: Release, worker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped all pods of a platform whose worker is ready."""
    with Prometheus(release, tmp_path_factory.mktemp("prometheus")) as server:
        eventually(
            lambda: {target["health"] for target in server.targets()} == {"up"}, "all are scraped", 60, server.targets
        )
        yield server


def test_it_scrapes_every_edge_api_and_operator(release: Release, prometheus: Prometheus) -> None:
    scraped = [(target["labels"]["service"], target["labels"]["pod"]) for target in prometheus.targets()]
    pods = [pod for component in ("edge-api", "operator") for pod in release.component(component)]
    assert sorted(pod for _, pod in scraped) == sorted(pod["metadata"]["name"] for pod in pods)
    assert {service for service, _ in scraped} == COMPONENTS
    (most,) = prometheus.query("max(scrape_samples_scraped)")
    figures["metrics_samples_most"] = int(most["value"][1])


def test_alerts_are_quiet_while_all_is_well(prometheus: Prometheus) -> None:
    _wait_quiet(prometheus)


def test_jobs_without_worker_are_seen(release: Release, worker: str, prometheus: Prometheus) -> None:
    panels = [panel for panel in prometheus.panels() if any(name in panel for name in WAITING)]
    assert len(panels) == len(WAITING)
    release.kubectl("annotate", "edgeworker", worker, f"{MAINTENANCE}=seen by Prometheus")
    eventually(lambda: release.status("edgeworker", worker).get("state") == "maintenance mode", f"{worker} takes none")
    hold = release.start_hold("hold_default", 1)
    hold.let_go()
    eventually(lambda: prometheus.alerts()["AirflowEdgeQueueWithoutWorker"] == ("ok", "pending"), "an alert is near")
    for panel in panels:
        assert [series["metric"] for series in prometheus.query(panel)] == [{"queue": "default"}], panel
    release.kubectl("annotate", "edgeworker", worker, f"{MAINTENANCE}-")
    hold.ended("success")
    _wait_quiet(prometheus)


def test_panels_have_data_after_a_run(release: Release, worker: str, prometheus: Prometheus) -> None:
    hold = release.start_hold("hold_default", 1)
    hold.wait_running(1)
    hold.finish()
    panels = [panel for panel in prometheus.panels() if not any(name in panel for name in (*WAITING, TROUBLE))]
    eventually(lambda: not _empty(prometheus, panels), "all have data", 60, lambda: _empty(prometheus, panels))


def test_the_dashboard_offers_the_namespace(release: Release, prometheus: Prometheus) -> None:
    (variable,) = (one for one in prometheus.dashboard()["templating"]["list"] if one["name"] == "namespace")
    found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
    assert found
    metric, label = found.groups()
    assert prometheus.ask(f"label/{label}/values", **{"match[]": metric}) == [release.namespace]


def _wait_quiet(prometheus: Prometheus) -> None:
    eventually(lambda: set(prometheus.alerts().values()) == {("ok", "inactive")}, "no alert", 60, prometheus.alerts)


def _empty(prometheus: Prometheus, panels: list[str]) -> list[str]:
    """Return the panels without data; a quantile of nothing is NaN."""
    return [
        panel for panel in panels if all(math.isnan(float(series["value"][1])) for series in prometheus.query(panel))
    ]
