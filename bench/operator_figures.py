"""The operator alone, in about ten minutes: `python -m bench.operator_figures`.

It starts what the operator's tests start (an apiserver with a controller manager, an edge API, real agents as processes
that stand for pods) and prints each figure as soon as it is known. docs/operator.md has them.
"""

import argparse
import asyncio
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.report import percentile
from bench.wire_this import EdgeApi, clients
from edge_demo.postgres import EmbeddedPostgres
from edge_testing.database.db import Db
from edge_testing.database.server import create_migrated
from edge_testing.edge_api.commands import join_token
from edge_testing.edge_api.process import ApiProcess
from edge_testing.kubernetes.api import Api
from edge_testing.kubernetes.control_plane import ControlPlane
from edge_testing.operator.host import Host
from edge_testing.operator.process import OperatorProcess
from edge_testing.operator.site import Site
from edge_testing.programs.binaries import find_binaries
from edge_testing.repository import CRDS

GROUP_PATH = "/apis/airflow-edge.io/v1alpha1"
MERGE = "application/merge-patch+json"
SPEC: dict[str, Any] = {"queues": ["press"], "concurrency": 1, "drainTimeoutSeconds": 20}
CYCLES = 100
STARTS = 10
MANY = 200
FLEET = 500
BEAT_S = 10.0
IDLE_S = 320.0
"""Longer than the interval of full passes, so that the measurement includes one."""
LOOK_S = 0.02


class Bench:
    """A site with an operator at its defaults, and the apiserver without the cost of kubectl."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.api = Api(site.cluster)
        self.operator: OperatorProcess = site.start_operator(
            minor_interval_s=5, autoscale_s=5, api_patience_s=60, stop_margin_s=45
        )

    def path(self, plural: str, name: str = "") -> str:
        """Return the path of an object of this project, or of all of a kind."""
        return f"{GROUP_PATH}/namespaces/{self.site.namespace}/{plural}" + (f"/{name}" if name else "")

    def status(self, name: str) -> dict[str, Any]:
        """Return the status of an EdgeWorker."""
        found: dict[str, Any] = (self.api.call("GET", self.path("edgeworkers", name)) or {}).get("status") or {}
        return found

    def in_state(self, name: str, state: str) -> bool:
        """Return whether an EdgeWorker's status shows a state."""
        return self.status(name).get("state") == state

    def has_state(self, name: str) -> bool:
        """Return whether an EdgeWorker's status shows any state."""
        return "state" in self.status(name)

    def ready(self, name: str) -> bool:
        """Return whether an EdgeWorker is Ready."""
        conditions = self.status(name).get("conditions") or []
        return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

    def runs(self, worker: str) -> bool:
        """Return whether the pod of an EdgeWorker runs."""
        pod = self.api.call("GET", f"/api/v1/namespaces/{self.site.namespace}/pods/edgeworker-{worker}-0") or {}
        return (pod.get("status") or {}).get("phase") == "Running"

    def joined(self, worker: str) -> bool:
        """Return whether a worker is in the fleet."""
        return self.site.fleet(worker) is not None

    def gone(self, worker: str) -> bool:
        """Return whether there is no such EdgeWorker."""
        return self.api.call("GET", self.path("edgeworkers", worker)) is None

    def count(self, path: str) -> int:
        """Return how many objects there are."""
        return len((self.api.call("GET", path) or {"items": []})["items"])

    def create(self, plural: str, kind: str, name: str, spec: dict[str, Any]) -> None:
        """Create an object of this project."""
        body = {"apiVersion": "airflow-edge.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.api.call("POST", self.path(plural), body)

    def wait(self, ask: Callable[[], bool], limit_s: float = 300, look_s: float = LOOK_S) -> float:
        """Return the seconds until a condition holds."""
        begin = time.perf_counter()
        while not ask():
            if time.perf_counter() - begin > limit_s:
                raise TimeoutError(f"not within {limit_s} s")
            time.sleep(look_s)
        return time.perf_counter() - begin


def main() -> None:
    """Run the measurements that are named, or all."""
    measures = {measure.__name__: measure for measure in (maintenance, starts, appearing, thirty, many, idle_fleet)}
    parser = argparse.ArgumentParser(prog="python -m bench.operator_figures", description=__doc__)
    parser.add_argument("only", nargs="*", help="which to take (default: all)")
    selected: list[str] = parser.parse_args().only or list(measures)
    with (
        tempfile.TemporaryDirectory(prefix="edge-bench-", ignore_cleanup_errors=True) as name,
        EmbeddedPostgres(Path(name) / "data") as server,
        ControlPlane(Path(name) / "cluster", find_binaries(may_build=True)) as cluster,
    ):
        cluster.install_crds(CRDS)
        for measure in selected:
            folder = Path(name) / measure
            folder.mkdir()
            with _bench(server, cluster, folder) as bench:
                measures[measure](bench)


@contextmanager
def _bench(server: EmbeddedPostgres, cluster: ControlPlane, folder: Path) -> Iterator[Bench]:
    database = create_migrated(server, f"bench_{secrets.token_hex(4)}")
    api = ApiProcess(database, folder / "api.log")
    api.start()
    api.wait_ready()
    namespace = f"bench-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", namespace)
    with Db(database) as db:
        site = Site(cluster, namespace, folder, api, db)
        site.grant()
        with site.node:
            bench = Bench(site)
            yield bench
            bench.operator.kill()
        bench.api.close()
        site.close()
    api.kill()


def _print_seconds(what: str, seconds: list[float]) -> None:
    p50, p99 = (1000 * percentile(seconds, share) for share in (0.5, 0.99))
    print(f"{what}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, {len(seconds)} times", flush=True)


def maintenance(bench: Bench) -> None:
    """Measure from an annotation to the state in the status that the real agent has confirmed."""
    with Host(bench.site, "bare-1"):
        bench.wait(lambda: bench.ready("bare-1"))
        seconds = []
        for _ in range(CYCLES):
            for comment, state in (("bench", "maintenance mode"), (None, "idle")):
                note = {"metadata": {"annotations": {"airflow-edge.io/maintenance": comment}}}
                bench.api.call("PATCH", bench.path("edgeworkers", "bare-1"), note, MERGE)
                seconds.append(bench.wait(partial(bench.in_state, "bare-1", state)))
    _print_seconds("maintenance annotation set or removed -> state in status", seconds)


def starts(bench: Bench) -> None:
    """Measure from the creation of an EdgeWorker to Ready, with and without the start of its agent."""
    whole, own = [], []
    for number in range(STARTS):
        name = f"start-{number}"
        begin = time.perf_counter()
        bench.create("edgeworkers", "EdgeWorker", name, SPEC)
        bench.wait(partial(bench.runs, name))
        running = time.perf_counter() - begin
        bench.wait(partial(bench.joined, name))
        joined = time.perf_counter() - begin
        bench.wait(partial(bench.ready, name))
        ready = time.perf_counter() - begin
        whole.append(ready)
        own.append(running + ready - joined)
        bench.api.call("DELETE", bench.path("edgeworkers", name))
        bench.wait(partial(bench.gone, name))
    _print_seconds("EdgeWorker created -> Ready", whole)
    _print_seconds("  of it before the pod's process starts and after its worker joined", own)


def appearing(bench: Bench) -> None:
    """Measure from a host that enrolled by itself to its EdgeWorker."""
    seconds = []
    for number in range(STARTS):
        name = f"host-{number}"
        with Host(bench.site, name):
            bench.wait(partial(bench.joined, name))
            seconds.append(bench.wait(partial(bench.has_state, name)))
    _print_seconds("worker enrols -> EdgeWorker with a state", seconds)


def thirty(bench: Bench) -> None:
    """Scale a pool from none to thirty, until all objects are made."""
    bench.site.node.schedules = False
    bench.create("edgeworkerpools", "EdgeWorkerPool", "pool", {"replicas": 0, "template": {"spec": SPEC}})
    sets = f"/apis/apps/v1/namespaces/{bench.site.namespace}/statefulsets"
    for _ in range(3):
        bench.api.call("PATCH", bench.path("edgeworkerpools", "pool"), {"spec": {"replicas": 30}}, MERGE)
        print(f"pool 0 -> 30, all objects made: {bench.wait(lambda: bench.count(sets) == 30):.1f} s", flush=True)
        bench.api.call("PATCH", bench.path("edgeworkerpools", "pool"), {"spec": {"replicas": 0}}, MERGE)
        bench.wait(lambda: bench.count(bench.path("edgeworkers")) == 0 and bench.count(sets) == 0)


def many(bench: Bench) -> None:
    """Measure the creation and deletion of two hundred EdgeWorkers."""
    bench.site.node.schedules = False
    sets = f"/apis/apps/v1/namespaces/{bench.site.namespace}/statefulsets"
    begin = time.perf_counter()
    for number in range(MANY):
        bench.create("edgeworkers", "EdgeWorker", f"many-{number}", SPEC)
    bench.wait(lambda: bench.count(sets) == MANY, look_s=0.5)
    made = time.perf_counter() - begin
    bench.api.call("DELETE", bench.path("edgeworkers"), {"apiVersion": "v1", "kind": "DeleteOptions"})
    gone = bench.wait(lambda: bench.count(bench.path("edgeworkers")) == 0, look_s=0.5)
    rss = bench.operator.rss_mb()
    print(f"{MANY} EdgeWorkers: made in {made:.0f} s, gone in {gone:.0f} s; operator {rss:.0f} MB", flush=True)


def idle_fleet(bench: Bench) -> None:
    """Measure the operator's CPU while a fleet of live workers has nothing to do."""
    asyncio.run(_idle_fleet(bench))


async def _idle_fleet(bench: Bench) -> None:
    api = EdgeApi(bench.site.api.url, join_token(bench.site.api.database), "")
    async with clients(api, "idle", FLEET, 1) as fleet:
        tasks = [asyncio.create_task(client.stay(BEAT_S)) for client in fleet]
        await asyncio.to_thread(bench.wait, lambda: bench.count(bench.path("edgeworkers")) == FLEET, 600, 1.0)
        await asyncio.sleep(3 * BEAT_S)
        begin, writes = bench.operator.cpu_s(), bench.site.writes()
        await asyncio.sleep(IDLE_S)
        share = 100 * (bench.operator.cpu_s() - begin) / IDLE_S
        rate = (bench.site.writes() - writes) / IDLE_S
        rss = bench.operator.rss_mb()
        print(
            f"{FLEET} live workers, {IDLE_S:.0f} s: {share:.2f} % of a core, {rate:.2f} writes a second, {rss:.0f} MB",
            flush=True,
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    main()
