"""The platform works: examples run on a worker pod, Airflow shows logs, Prometheus can parse the metrics."""

import statistics
from datetime import datetime
from functools import partial

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_testing.airflow.asking import ask
from edge_testing.figures import figures
from edge_testing.programs.prometheus import promtool
from edge_testing.release.release import NAME, Release
from edge_testing.waiting import eventually

EXAMPLE_DAGS = ("press_line", "paint_shop", "night_shift")
UNITS = ("_seconds", "_bytes", "_total", "_ratio")


def test_examples_run_on_a_worker_pod(release: Release, worker: str) -> None:
    runs = {dag: release.airflow.trigger(dag) for dag in EXAMPLE_DAGS}
    for dag, run in runs.items():
        state = ask(partial(release.airflow.wait_for_run, dag, run, timeout_s=120))
        expected = "failed" if "expect:failed" in release.airflow.dag_tags(dag) else "success"
        assert state == expected, release.airflow.task_instances(dag, run)
    tasks = [task for dag, run in runs.items() for task in release.airflow.task_instances(dag, run)]
    started = [task for task in tasks if task["queued_when"] and task["start_date"]]
    waits = [_seconds(task["queued_when"], task["start_date"]) for task in started]
    figures["queued_to_started_p50_s"] = round(statistics.median(waits), 2)
    assert {task["hostname"].partition(".")[0] for task in started} == {f"edgeworker-{worker}-0"}


def test_logs_are_read_through_airflow(release: Release, worker: str) -> None:
    run = release.airflow.trigger("night_shift")
    assert release.airflow.wait_for_run("night_shift", run, timeout_s=120) == "failed"
    log = release.airflow.log_events("night_shift", run, "run_conveyor")
    assert any("ALARM: run_conveyor failed: the conveyor is jammed" in line for line in log), log


def test_a_log_can_be_read_while_its_task_runs(release: Release, worker: str) -> None:
    hold = release.start_hold("hold_default", 1)
    hold.wait_running(1)
    eventually(lambda: len(hold.lines()) >= 2, "lines arrive while the task runs")
    (task,) = hold.finish()
    assert task["try_number"] == 1
    lines = hold.lines()
    assert lines == list(range(1, len(lines) + 1))
    assert f"{len(lines)} lines" in hold.log()


def test_helm_test(release: Release) -> None:
    assert "Succeeded" in release.helm("test", NAME)


@pytest.mark.parametrize(
    ("component", "port", "expected"),
    [("edge-api", 8800, "airflow_edge_sessions"), ("operator", 8080, "airflow_edge_operator_workers")],
)
def test_metrics_are_what_prometheus_takes(
    release: Release, worker: str, component: str, port: int, expected: str
) -> None:
    with release.forward(f"service/{NAME}-{component}", port) as way:
        answer = ask(lambda: httpx.get(f"{way.url}/metrics", trust_env=False).raise_for_status())
    assert answer.headers["content-type"].startswith("text/plain")
    promtool("check", "metrics", stdin=answer.text)
    families = list(text_string_to_metric_families(answer.text))
    own = [family for family in families if family.name.startswith("airflow_edge")]
    assert expected in {family.name for family in own}
    for family in own:
        assert family.type in ("counter", "gauge", "histogram"), f"{family.name} is of type {family.type}"
        if family.type == "histogram":
            assert family.name.endswith(UNITS), f"{family.name} names no unit"
        samples = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert len(samples) == len(set(samples)), f"{family.name} has a series twice"


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
