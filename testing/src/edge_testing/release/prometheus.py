"""A Prometheus on this machine with the scrape settings of the chart's ServiceMonitor and the chart's rules.

It does what the Prometheus operator does with these objects, so the cluster needs neither it nor its CRDs. Pods are
reached through `kubectl port-forward`.
"""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from edge_demo.environment import LOCALHOST, free_port
from edge_demo.processes import ManagedProcess, answers, wait_until
from edge_testing.kubernetes.api import Obj
from edge_testing.programs.prometheus import prometheus_program
from edge_testing.release.release import NAME, Release
from edge_testing.repository import CHART

INTERVAL = "1s"
SAMPLES_MOST = 3000
"""Limit for one pod; Prometheus refuses larger scrapes. More means a label that grows with the fleet or its jobs."""
SWITCHED_ON = ("serviceMonitor", "prometheusRule", "grafanaDashboard")


class Prometheus:
    """A context manager. Its data is in the folder, and it listens on loopback only."""

    def __init__(self, release: Release, folder: Path) -> None:
        self._release = release
        self._folder = folder
        self._closing = ExitStack()
        self._objects = _monitoring_objects(release)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def dashboard(self) -> Obj:
        """Return the chart's dashboard."""
        found: Obj = json.loads(self._objects["ConfigMap"]["data"]["airflow-edge.json"])
        return found

    def panels(self) -> list[str]:
        """Return the queries of the dashboard's panels, for the release's namespace."""
        targets = [target for panel in self.dashboard()["panels"] for target in panel["targets"]]
        return [target["expr"].replace("$namespace", self._release.namespace) for target in targets]

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of a GET of its HTTP API."""
        return self._client.get(path, params=parameters).raise_for_status().json()["data"]

    def query(self, expression: str) -> list[Obj]:
        """Return the result of an instant query."""
        found: list[Obj] = self.ask("query", query=expression)["result"]
        return found

    def targets(self) -> list[Obj]:
        """Return its scrape targets."""
        found: list[Obj] = self.ask("targets")["activeTargets"]
        return found

    def alerts(self) -> dict[str, tuple[str, str]]:
        """Return health and state of each alert; the health is `unknown` before the first evaluation."""
        rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: (rule["health"], rule["state"]) for rule in rules}

    def _start(self) -> None:
        port = free_port()
        groups = {"groups": self._objects["PrometheusRule"]["spec"]["groups"]}
        (self._folder / "rules.yaml").write_text(yaml.safe_dump(groups))
        (self._folder / "prometheus.yaml").write_text(yaml.safe_dump(self._settings()))
        command = [
            str(prometheus_program("prometheus")),
            f"--config.file={self._folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        process = ManagedProcess("Prometheus", command, os.environ, self._folder / "prometheus.log", self._folder)
        process.start()
        self._closing.callback(process.stop, timeout_s=60)
        url = f"http://{LOCALHOST}:{port}"
        self._client = self._closing.enter_context(httpx.Client(base_url=f"{url}/api/v1", trust_env=False))
        wait_until(lambda: answers(f"{url}/-/ready"), "Prometheus is ready", 60, [process])

    def _settings(self) -> Obj:
        monitor = self._objects["ServiceMonitor"]["spec"]
        return {
            "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                {
                    "job_name": endpoint["port"],
                    "metrics_path": endpoint["path"],
                    "sample_limit": SAMPLES_MOST,
                    "static_configs": self._pods(monitor["selector"], endpoint["port"]),
                }
                for endpoint in monitor["endpoints"]
            ],
        }

    def _pods(self, selector: Obj, port: str) -> list[Obj]:
        """Return the targets of the Services that a ServiceMonitor selects, with their labels."""
        terms = [f"{label}={value}" for label, value in selector["matchLabels"].items()]
        terms += [f"{one['key']} in ({','.join(one['values'])})" for one in selector["matchExpressions"]]
        found = []
        for endpoints in self._release.get("endpoints", f"--selector={','.join(terms)}")["items"]:
            name = endpoints["metadata"]["name"]
            for subset in endpoints["subsets"]:
                (number,) = (one["port"] for one in subset["ports"] if one["name"] == port)
                for address in subset["addresses"]:
                    pod = address["targetRef"]["name"]
                    way = self._closing.enter_context(self._release.forward(f"pod/{pod}", number))
                    labels = {"namespace": self._release.namespace, "job": name, "service": name, "pod": pod}
                    found.append({"targets": [way.url.removeprefix("http://")], "labels": labels})
        return found


def _monitoring_objects(release: Release) -> dict[str, Obj]:
    """Return the chart's monitoring objects, by kind."""
    on = [f"--set=monitoring.{part}.enabled=true" for part in SWITCHED_ON]
    text = release.helm("template", NAME, str(CHART), *release.values(release.cluster.tag), *on)
    objects = [obj for obj in yaml.safe_load_all(text) if obj]
    label = "app.kubernetes.io/component"
    return {obj["kind"]: obj for obj in objects if obj["metadata"]["labels"].get(label) == "monitoring"}
