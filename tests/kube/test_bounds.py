"""Bounds of namespaces: an EdgeWorker beyond them gets no token, and changes no worker of others."""

import json
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from edge_store.schema.tables import join_token
from edge_testing.kubernetes.api import Obj
from edge_testing.operator.host import Host
from edge_testing.operator.site import Site
from edge_testing.waiting import eventually

SPEC: dict[str, Any] = {"concurrency": 2, "drainTimeoutSeconds": 20}
ANNOTATIONS = {"airflow-edge.io/maintenance": "stolen", "airflow-edge.io/shutdown": "stolen"}


@pytest.fixture
def bounded(bare_site: Site) -> Site:
    """A site whose namespace is for workers press-* of team press with the queue press."""
    bare_site.grant(cluster_wide=True)
    bounds = {"namespace": bare_site.namespace, "workerPattern": "press-*", "team": "press", "queues": ["press"]}
    bare_site.start_operator(namespaces="", namespace_bounds=json.dumps([bounds]))
    return bare_site


def tokens(site: Site) -> list[Any]:
    """Return all join tokens that the operator created."""
    columns = (join_token.c.worker_pattern, join_token.c.team, join_token.c.queues)
    return site.db.rows(select(*columns).where(join_token.c.worker_pattern != "*"))


def edge_worker(name: str, **spec: Any) -> Obj:
    return {
        "apiVersion": "airflow-edge.io/v1alpha1",
        "kind": "EdgeWorker",
        "metadata": {"name": name, "annotations": ANNOTATIONS},
        "spec": spec,
    }


def test_workers_of_others_are_neither_shown_nor_changed(bounded: Site) -> None:
    site = bounded
    with Host(site, "paint-1") as paint, Host(site, "press-9") as press:
        for name in ("paint-1", "press-9"):
            eventually(partial(site.fleet, name), f"{name} joins the fleet")
        # One by its name, the other by its team.
        site.apply_worker("thief", ANNOTATIONS, mode="External", workerName="paint-1")
        site.apply_worker("press-9", ANNOTATIONS, mode="External")
        for name, bound in (("thief", "press-*"), ("press-9", "team press")):
            site.wait_condition(name, "Ready", "OutOfBounds")
            assert bound in site.wait_event(name, "OutOfBounds")
            assert site.condition(name, "Progressing") == ("False", "Blocked")
            assert "lastHeartbeatTime" not in site.status(name), "it shows nothing of the worker"
            site.kubectl("delete", "ew", name, "--timeout=30s")
        for host, name in ((paint, "paint-1"), (press, "press-9")):
            view = site.fleet(name)
            assert view is not None
            assert (view["state"], view["maintenance"], view["shutdown"]) == ("idle", None, False)
            assert host.running
        assert site.all("ew") == [], "the namespace of mirrors has bounds too"
    assert tokens(site) == []


def test_a_worker_gets_what_its_namespace_may_have_and_no_more(bounded: Site) -> None:
    site = bounded
    other = f"{site.namespace}-other"
    site.cluster.kubectl("create", "namespace", other)
    # It is older, but its namespace may have no workers, so it does not hold the name.
    site.cluster.apply(edge_worker("press-1", mode="External"), namespace=other)
    site.apply_worker("press-1", **SPEC)
    site.apply_worker("press-2", **SPEC, queues=["press", "paint"])
    site.apply_worker("press-3", **SPEC, team="paint")
    site.apply_pool("paint", SPEC, replicas=2)
    site.wait_ready("press-1")
    site.wait_condition("press-2", "Ready", "OutOfBounds")
    site.wait_condition("press-3", "Ready", "OutOfBounds")
    site.wait_condition("paint", "Ready", "OutOfBounds", "edgeworkerpool")
    assert [tuple(row) for row in tokens(site)] == [("press-1", "press", ["press"])]
    assert len(site.all("pod")) == 1
    assert len(site.all("ew")) == 3, "the pool has no workers"
    refused = site.cluster.get("ew", "press-1", "-n", other)["status"]["conditions"]
    assert {"Ready": "OutOfBounds"}.items() <= {one["type"]: one["reason"] for one in refused}.items()
    # A worker that went beyond its bounds still belongs to the EdgeWorker, which removes it from the fleet.
    site.apply_worker("press-1", **SPEC, queues=["paint"])
    site.wait_condition("press-1", "Ready", "OutOfBounds")
    assert (site.fleet("press-1") or {})["queues"] == ["press"]
    site.kubectl("delete", "ew", "press-1", "--timeout=90s")
    assert site.fleet("press-1") is None
    site.cluster.kubectl("-n", other, "delete", "ew", "press-1", "--timeout=30s")
    site.cluster.kubectl("delete", "namespace", other, "--wait=false")
