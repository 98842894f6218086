"""The figures, as one table and as JSON."""

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from os import cpu_count
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass
class Figures:
    """The figures of one contender; None if a figure does not apply."""

    dag32_wall_s: float | None = None
    queued_to_start_p50_s: float | None = None
    queued_to_start_p99_s: float | None = None
    task_p50_s: float | None = None
    jobs_per_s: float | None = None
    cpu_ms_per_job: float | None = None
    dispatch_p50_ms: float | None = None
    dispatch_p99_ms: float | None = None
    idle_rss_mb: float | None = None
    heartbeats_per_s: float | None = None
    cpu_ms_per_heartbeat: float | None = None


LABELS = {
    "dag32_wall_s": "DAG of 32 tasks, 8 slots: wall time, s",
    "queued_to_start_p50_s": "  queued -> start, p50, s",
    "queued_to_start_p99_s": "  queued -> start, p99, s",
    "task_p50_s": "  one task, start -> end, p50, s",
    "jobs_per_s": "jobs through the wire, 16 clients, 1/s",
    "cpu_ms_per_job": "  server CPU per job, ms",
    "dispatch_p50_ms": "queued -> accepted, 100 idle workers, p50, ms",
    "dispatch_p99_ms": "  p99, ms",
    "idle_rss_mb": "idle worker memory (RSS), MB",
    "heartbeats_per_s": "heartbeats, 16 clients, 1/s",
    "cpu_ms_per_heartbeat": "  server CPU per heartbeat, ms",
}


def percentile(values: Iterable[float], part: float) -> float:
    """Return the value below which `part` (0..1) of the values lie, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(part * len(ordered)) - 1))]


def median(values: Iterable[float]) -> float:
    """Return the middle value."""
    return percentile(values, 0.5)


def table(edge3: Figures, local: Figures, this: Figures) -> str:
    """Return the figures side by side, with this project's ratio to edge3 and to LocalExecutor."""
    columns = [asdict(edge3), asdict(local), asdict(this)]
    lines = [f"{'':48}{'edge3 5.1.0':>12}{'Local':>10}{'this':>10}{'this:edge3':>12}{'this:Local':>12}"]
    for name, label in LABELS.items():
        theirs, locals_, ours = (column[name] for column in columns)
        lines.append(
            f"{label:48}{_number(theirs):>12}{_number(locals_):>10}{_number(ours):>10}"
            f"{_ratio(ours, theirs):>12}{_ratio(ours, locals_):>12}"
        )
    return "\n".join(lines)


def write(edge3: Figures, local: Figures, this: Figures, details: dict[str, Any]) -> Path:
    """Write `latest.json` and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "latest.json"
    content = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "airflow": version("apache-airflow"),
        "edge3": asdict(edge3),
        "local": {name: value for name, value in asdict(local).items() if value is not None},
        "this": asdict(this),
        "details": details,
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(ours: float | None, theirs: float | None) -> str:
    return "-" if ours is None or not theirs else f"{ours / theirs:.3g} x"
