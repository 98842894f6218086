"""Measure and print: `python -m bench`. See docs/benchmark.md for what is measured and how."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import dag32, report, wire_edge3, wire_this
from bench.report import Figures, median, percentile
from edge_demo.platform import Platform

CLIENTS = 16
IDLE_WORKERS = 100
SPACING_S = 0.1
REST_S = 5.0


def main() -> int:
    """Run everything and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs, in turns (default 3)")
    parser.add_argument("--jobs", type=int, default=4000, help="jobs through this project's wire; edge3: a tenth")
    arguments = parser.parse_args()
    figures = {"edge3": Figures(), "local": Figures(), "this": Figures()}
    with tempfile.TemporaryDirectory(prefix="edge-bench-", ignore_cleanup_errors=True) as folder:
        details = measure(Path(folder), figures, arguments.rounds, arguments.jobs)
    print(report.table(figures["edge3"], figures["local"], figures["this"]))
    print(f"\nWritten to {report.write(figures['edge3'], figures['local'], figures['this'], details)}")
    return 0


def measure(folder: Path, figures: dict[str, Figures], rounds: int, jobs: int) -> dict[str, object]:
    """Fill in the figures; return additional measurements."""
    runs: dict[str, list[dag32.DagTimes]] = {name: [] for name in figures}
    rss: dict[str, float] = {}
    for turn in range(1, rounds + 1):
        last = turn == rounds
        with dag32.edge3_platform(folder / f"edge3-{turn}") as edge3:
            idle = dag32.tree_rss_mb(edge3.processes[dag32.EDGE3_WORKER].pid)
            figures["edge3"].idle_rss_mb = idle
            runs["edge3"] += warm_runs(edge3, "edge3")
            if last:
                quieten(edge3, dag32.EDGE3_WORKER)
                wire_of_edge3(edge3, figures["edge3"], jobs // 10)
        with dag32.local_platform(folder / f"local-{turn}") as local:
            runs["local"] += warm_runs(local, "LocalExecutor")
        with dag32.this_platform(folder / f"this-{turn}") as this:
            worker = this.processes["worker-1"].pid
            rss["agent_before_first_task_mb"] = dag32.process_rss_mb(worker)
            rss["worker_before_first_task_mb"] = dag32.tree_rss_mb(worker)
            runs["this"] += warm_runs(this, "this project")
            dag32.settle(REST_S)
            rss["agent_after_mb"] = dag32.process_rss_mb(worker)
            figures["this"].idle_rss_mb = rss["worker_after_mb"] = dag32.tree_rss_mb(worker)
            if last:
                quieten(this, "worker-1")
                wire_of_this(this, figures["this"], jobs)
    for name, times in runs.items():
        dag32.summarise(times, figures[name])
    return {
        "rounds": rounds,
        "runs_per_round": dag32.RUNS,
        "dag32_wall_s_of_each_run": {name: [round(run.wall, 2) for run in times] for name, times in runs.items()},
        "memory": {name: round(value, 1) for name, value in rss.items()},
    }


def warm_runs(platform: Platform, name: str) -> list[dag32.DagTimes]:
    """Run the DAG several times on a fresh platform; the first run is a warm-up and does not count."""
    runs = [dag32.run_dag(platform) for _ in range(1 + dag32.RUNS)]
    for run in runs:
        say(f"{name}: 32 tasks in {run.wall:.1f} s, one task {median(run.task):.2f} s")
    return runs[1:]


def quieten(platform: Platform, worker: str) -> None:
    """Stop all but the APIs and the database, so that the wire alone is measured."""
    for name in (worker, "scheduler", "dag-processor", "triggerer"):
        platform.processes[name].stop()


def wire_of_edge3(platform: dag32.Edge3Platform, figures: Figures, jobs: int) -> None:
    """Measure (b), (c) and (e) on edge3."""
    api = wire_edge3.Edge3Api(platform.api_url, platform.jwt_secret, platform.database_url)
    server = platform.processes["api-server"].pid
    with_cpu(figures, server, jobs, lambda: asyncio.run(wire_edge3.life_cycles(api, CLIENTS, jobs)))
    each = 50
    with_cpu_beats(figures, server, CLIENTS * each, lambda: asyncio.run(wire_edge3.heartbeats(api, CLIENTS, each)))
    dispatch(figures, asyncio.run(wire_edge3.dispatch_latencies(api, IDLE_WORKERS, 100, SPACING_S)))


def wire_of_this(platform: Platform, figures: Figures, jobs: int) -> None:
    """Measure (b), (c) and (e) on this project."""
    api = wire_this.EdgeApi(platform.edge_api_urls[0], platform.join_token("--uses", "1000"), platform.database_url)
    server = platform.processes["edge-api-0"].pid
    with_cpu(figures, server, jobs, lambda: asyncio.run(wire_this.life_cycles(api, CLIENTS, jobs, dag32.SLOTS)))
    each = 2000
    with_cpu_beats(figures, server, CLIENTS * each, lambda: asyncio.run(wire_this.heartbeats(api, CLIENTS, each)))
    dispatch(figures, asyncio.run(wire_this.dispatch_latencies(api, IDLE_WORKERS, 100, SPACING_S)))


def with_cpu(figures: Figures, server: int, jobs: int, run: Callable[[], float]) -> None:
    """Run (b) and record its rate and the server's CPU."""
    before = dag32.tree_cpu_s(server)
    seconds = run()
    figures.jobs_per_s = jobs / seconds
    figures.cpu_ms_per_job = 1000 * (dag32.tree_cpu_s(server) - before) / jobs
    say(f"wire: {figures.jobs_per_s:.0f} jobs/s, {figures.cpu_ms_per_job:.2f} ms server CPU each")


def with_cpu_beats(figures: Figures, server: int, beats: int, run: Callable[[], float]) -> None:
    """Run (e) and record its rate and the server's CPU."""
    before = dag32.tree_cpu_s(server)
    seconds = run()
    figures.heartbeats_per_s = beats / seconds
    figures.cpu_ms_per_heartbeat = 1000 * (dag32.tree_cpu_s(server) - before) / beats
    say(f"wire: {figures.heartbeats_per_s:.0f} heartbeats/s, {figures.cpu_ms_per_heartbeat:.3f} ms server CPU each")


def dispatch(figures: Figures, latencies: list[float]) -> None:
    """Record (c)."""
    figures.dispatch_p50_ms = 1000 * median(latencies)
    figures.dispatch_p99_ms = 1000 * percentile(latencies, 0.99)
    say(f"dispatch: p50 {figures.dispatch_p50_ms:.1f} ms, p99 {figures.dispatch_p99_ms:.1f} ms")


def say(text: str) -> None:
    """Print progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
