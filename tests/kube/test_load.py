"""Many objects at once, no needless writes, and the messages of an operator that can't start."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_demo.processes import ProcessError
from edge_testing.operator.site import GROUP, Site
from edge_testing.waiting import eventually

SPEC: dict[str, Any] = {"queues": ["press"], "concurrency": 1, "drainTimeoutSeconds": 20}
MANY = 200
QUIET_S = 5.0


def test_no_writes_while_nothing_changes(bare_site: Site) -> None:
    # The full pass is due every second here, so there are five of them.
    bare_site.start_operator(resync_s=1)
    bare_site.apply_worker("plant-7", **SPEC)
    bare_site.apply_pool("pool", SPEC, replicas=1)
    bare_site.wait_ready("plant-7")
    bare_site.wait_ready("pool-0")
    bare_site.wait_condition("pool", "Ready", "AllReady", "ewp")
    last_write = [-1, 0.0]

    def quiet() -> bool:
        writes = bare_site.writes()
        if writes != last_write[0]:
            last_write[:] = [writes, time.monotonic()]
        return time.monotonic() - last_write[1] > QUIET_S

    eventually(quiet, f"{QUIET_S:g} s without a write", 60)


@pytest.mark.slow
def test_many_objects_come_and_go(site: Site) -> None:
    site.node.schedules = False
    workers = [
        {
            "apiVersion": f"{GROUP}/v1alpha1",
            "kind": "EdgeWorker",
            "metadata": {"name": f"many-{number}"},
            "spec": SPEC,
        }
        for number in range(MANY)
    ]
    site.kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(workers))
    eventually(lambda: len(site.all("statefulset")) == MANY, "all are created", 120)
    site.kubectl("delete", "ew", "--all", "--wait=false")
    eventually(lambda: not site.all("ew"), "all are gone", 120)
    memory = site.operators[0].rss_mb()
    assert memory < 150, f"{memory:.0f} MB"
    assert 'error="UnavailableError"' not in site.operators[0].metrics(), "the apiserver held calls back"


def test_scale_from_zero_to_thirty(site: Site) -> None:
    site.node.schedules = False
    site.apply_pool("pool", SPEC, replicas=0)
    site.wait_condition("pool", "Ready", "AllReady", "ewp")
    site.kubectl("scale", "ewp", "pool", "--replicas=30")
    eventually(lambda: len(site.all("statefulset")) == 30, "all are created", 60)


def test_missing_right_is_noticed(bare_site: Site) -> None:
    """The check at the end of every test finds a verb that the rules lack."""

    def without_secrets(rules: list[dict[str, Any]]) -> None:
        rules[0]["rules"] = [rule for rule in rules[0]["rules"] if "secrets" not in rule["resources"]]

    bare_site.grant(change=without_secrets)
    operator = bare_site.start_operator()
    bare_site.apply_worker("plant-7", **SPEC)
    eventually(operator.problems, "it logs the missing right")
    operator.end()
    bare_site.operators.clear()


def test_without_rights_it_says_how_to_fix_it(bare_site: Site) -> None:
    def without_list(rules: list[dict[str, Any]]) -> None:
        for rule in rules[0]["rules"]:
            rule["verbs"] = [verb for verb in rule["verbs"] if verb != "list"]

    bare_site.grant(change=without_list)
    with pytest.raises(ProcessError, match="apply its RBAC rules"):
        bare_site.start_operator()
    bare_site.operators.clear()


def test_invalid_settings_are_named() -> None:
    command = [sys.executable, "-m", "edge_operator.cli", "run"]
    done = subprocess.run(command, env={"PATH": "/bin"}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "EDGE_OPERATOR_API_URL" in done.stderr


def test_without_a_cluster_it_says_how_to_fix_it(tmp_path: Path) -> None:
    environment = {
        "PATH": "/bin",
        "EDGE_OPERATOR_API_URL": "http://127.0.0.1:1",
        "EDGE_OPERATOR_ADMIN_TOKEN_FILE": str(tmp_path / "token"),
        "EDGE_OPERATOR_WORKER_IMAGE": "image",
    }
    command = [sys.executable, "-m", "edge_operator.cli", "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("edge-operator: no access to a cluster")
    assert "EDGE_OPERATOR_KUBECONFIG" in done.stderr
