"""Alerts and the dashboard use existing metrics; alerts have instructions and fire when they should."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml

from edge_api.metrics import Metrics
from edge_operator import metrics as operator_metrics
from edge_protocol.worker_state import WorkerState
from edge_testing.chart.render import NAMESPACE, render
from edge_testing.kubernetes.api import Obj
from edge_testing.programs.prometheus import promtool
from edge_testing.repository import CHART

METRIC = re.compile(r"\bairflow_edge_\w+")
LABELS = re.compile(r"(airflow_edge_\w+)\{([^}]*)\}")
LABEL = re.compile(r'(\w+)(?:=|!=|=~|!~)"')
ADDED_BY_PROMETHEUS = {"namespace", "pod"}
CASES: dict[str, list[Obj]] = yaml.safe_load(Path(__file__).with_name("alerts.yaml").read_text())


def exported() -> dict[str, set[str]]:
    """Return all series with their labels."""
    found: dict[str, set[str]] = {}
    assert operator_metrics.LEADING  # importing the module registers the operator's metrics
    for registry in (Metrics().registry, prometheus_client.REGISTRY):
        for metric in registry.collect():
            endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""])
            labels = _labels_of(registry, metric.name)
            found |= {metric.name + ending: labels | ({"le"} if ending == "_bucket" else set()) for ending in endings}
    return found


def _labels_of(registry: Any, name: str) -> set[str]:
    collector = registry._names_to_collectors.get(name) or registry._names_to_collectors.get(f"{name}_total")
    return set(getattr(collector, "_labelnames", ()))


def groups() -> list[Obj]:
    (rule,) = render("everything").kind("PrometheusRule").values()
    found: list[Obj] = rule["spec"]["groups"]
    return found


def alerts() -> list[Obj]:
    return [alert for group in groups() for alert in group["rules"]]


def dashboard() -> Obj:
    text = render("everything").one("ConfigMap", "edge-dashboard")["data"]["airflow-edge.json"]
    found: Obj = json.loads(text)
    assert found == json.loads((CHART / "files" / "dashboard.json").read_text())
    return found


def panel_expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def expressions() -> list[str]:
    return [alert["expr"] for alert in alerts()] + panel_expressions()


def test_expressions_are_about_series_that_there_are() -> None:
    series = exported()
    for expression in expressions():
        names = METRIC.findall(expression)
        assert names
        assert set(names) <= set(series), expression
        for name, given in LABELS.findall(expression):
            assert set(LABEL.findall(given)) <= series[name] | ADDED_BY_PROMETHEUS, expression
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            used = {label.strip() for label in labels.split(",")}
            assert used <= set().union(*(series[name] for name in names)), expression
        for state in re.findall(r'state="([^"]+)"', expression):
            assert state in set(WorkerState), expression


def test_every_alert_says_what_to_do() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert len(alert["annotations"]["runbook"]) > 80, alert["alert"]
        assert alert["annotations"]["summary"]
        assert f'namespace="{NAMESPACE}"' in alert["expr"], alert["alert"]
    assert len({alert["alert"] for alert in alerts()}) == len(alerts())


def test_prometheus_takes_all_expressions(tmp_path: Path) -> None:
    panels = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(panel_expressions())]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [*groups(), {"name": "dashboard", "rules": panels}]}))
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(file))


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    assert {alert["alert"] for alert in alerts()} == set(CASES)
    for name, cases in CASES.items():
        assert any("fires" in case for case in cases), name
        assert any("quiet" in case for case in cases), name


def test_cases_are_about_series_that_there_are() -> None:
    series = exported()
    given_series = [item for cases in CASES.values() for case in cases for item in case["series"].items()]
    for text, values in given_series:
        assert isinstance(values, str), f"quotes around {values}: YAML takes it for a number"
        ((name, given),) = LABELS.findall(text)
        assert set(LABEL.findall(given)) == series[name] | ADDED_BY_PROMETHEUS, text


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_should(name: str, tmp_path: Path) -> None:
    (alert,) = (alert for alert in alerts() if alert["alert"] == name)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups()}))
    tests = [
        {
            "name": f"case {number}",
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in case["series"].items()],
            "alert_rule_test": list(expectations(alert, case)),
        }
        for number, case in enumerate(CASES[name], 1)
    ]
    (tmp_path / "cases.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests})
    )
    promtool("test", "rules", str(tmp_path / "cases.yaml"))


def expectations(alert: Obj, case: Obj) -> Iterator[Obj]:
    """Yield what an alert does, minute by minute."""
    for minute in range(case["fires"] if "fires" in case else case["quiet"] + 1):
        yield {"alertname": alert["alert"], "eval_time": f"{minute}m", "exp_alerts": []}
    if "fires" in case:
        labels = {"severity": case["severity"], "namespace": NAMESPACE, **case.get("labels", {})}
        notes = {"summary": case["summary"], "runbook": alert["annotations"]["runbook"]}
        fired = {"exp_labels": labels, "exp_annotations": notes}
        yield {"alertname": alert["alert"], "eval_time": f"{case['fires']}m", "exp_alerts": [fired]}


def test_alerts_are_of_the_parts_that_there_are() -> None:
    made = render("remote", "--set", "monitoring.prometheusRule.enabled=true")
    (rule,) = made.kind("PrometheusRule").values()
    assert [group["name"] for group in rule["spec"]["groups"]] == ["airflow-edge-operator"]


def test_thresholds_are_values() -> None:
    expressions = {alert["alert"]: alert["expr"] for alert in alerts()}
    assert expressions["AirflowEdgeQueueSlow"].endswith("> 120")
    assert expressions["AirflowEdgeLogStorageLarge"].endswith("> 20 * 2^30")


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
