"""Alerts and the dashboard are about metrics that there are, and say what to do."""

import json
import re
from typing import Any

import prometheus_client

from edge_api.metrics import Metrics
from edge_operator import metrics as operator_metrics
from edge_protocol.worker_state import WorkerState
from tests.chart.describe import CHART
from tests.chart.kit import NAMESPACE, Obj, render

METRIC = re.compile(r"\bairflow_edge_\w+")
LABELS = re.compile(r"(airflow_edge_\w+)\{([^}]*)\}")
ADDED_BY_PROMETHEUS = {"namespace"}


def exported() -> dict[str, set[str]]:
    """Return all series with their labels."""
    found: dict[str, set[str]] = {}
    assert operator_metrics.LEADING  # the operator's are in the default registry once they are imported
    for registry in (Metrics().registry, prometheus_client.REGISTRY):
        for metric in registry.collect():
            endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""])
            labels = _labels_of(registry, metric.name)
            found |= {metric.name + ending: {*labels, "le"} for ending in endings}
    return found


def _labels_of(registry: Any, name: str) -> set[str]:
    collector = registry._names_to_collectors.get(name) or registry._names_to_collectors.get(f"{name}_total")
    return set(getattr(collector, "_labelnames", ()))


def rules() -> list[Obj]:
    (rule,) = render("everything").kind("PrometheusRule").values()
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


def dashboard() -> Obj:
    text = render("everything").one("ConfigMap", "edge-dashboard")["data"]["airflow-edge.json"]
    found: Obj = json.loads(text)
    assert found == json.loads((CHART / "files" / "dashboard.json").read_text())
    return found


def expressions() -> list[str]:
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return [alert["expr"] for alert in rules()] + panels


def test_expressions_are_about_series_that_there_are() -> None:
    series = exported()
    for expression in expressions():
        names = METRIC.findall(expression)
        assert names
        assert set(names) <= set(series), expression
        for name, given in LABELS.findall(expression):
            used = {part.partition("=")[0].strip() for part in given.split(",") if part.strip()}
            assert used <= series[name] | ADDED_BY_PROMETHEUS, expression
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            used = {label.strip() for label in labels.split(",")}
            assert used <= set().union(*(series[name] for name in names)), expression
        for state in re.findall(r'state="([^"]+)"', expression):
            assert state in set(WorkerState), expression


def test_every_alert_says_what_to_do() -> None:
    for alert in rules():
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert len(alert["annotations"]["runbook"]) > 80, alert["alert"]
        assert alert["annotations"]["summary"]
        assert f'namespace="{NAMESPACE}"' in alert["expr"], alert["alert"]
    assert len({alert["alert"] for alert in rules()}) == len(rules())


def test_parentheses_are_balanced() -> None:
    for expression in expressions():
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing), expression


def test_alerts_are_of_the_parts_that_there_are() -> None:
    made = render("remote", "--set", "monitoring.prometheusRule.enabled=true")
    (rule,) = made.kind("PrometheusRule").values()
    assert [group["name"] for group in rule["spec"]["groups"]] == ["airflow-edge-operator"]


def test_the_threshold_is_a_value() -> None:
    (slow,) = (alert for alert in rules() if alert["alert"] == "AirflowEdgeQueueSlow")
    assert slow["expr"].endswith("> 120")


def test_the_service_monitor_finds_both_services() -> None:
    made = render("everything")
    (monitor,) = made.kind("ServiceMonitor").values()
    selector = monitor["spec"]["selector"]
    (expression,) = selector["matchExpressions"]
    (endpoint,) = monitor["spec"]["endpoints"]
    for name in ("edge-edge-api", "edge-operator"):
        service = made.one("Service", name)
        labels = service["metadata"]["labels"]
        assert selector["matchLabels"].items() <= labels.items()
        assert labels[expression["key"]] in expression["values"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
