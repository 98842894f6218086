"""The table, the verdicts and the JSON document at the end of a demo."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from edge_demo.runs import Run, TaskResult

_HEADERS = ("DAG", "task", "try", "worker", "queued -> started", "duration", "state")
_RIGHT = (False, False, True, False, True, True, False)


def table(tasks: Sequence[TaskResult]) -> str:
    """Return one line for each task, in columns."""
    rows = [
        (
            task.dag_id,
            task.name,
            str(task.try_number),
            task.worker or "-",
            _seconds(task.queued_s),
            _seconds(task.duration_s),
            task.state,
        )
        for task in tasks
    ]
    widths = [max(len(row[column]) for row in [_HEADERS, *rows]) for column in range(len(_HEADERS))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(_line(row, widths) for row in [_HEADERS, rule, *rows])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, _RIGHT, strict=True)
    )
    return "  ".join(padded).rstrip()


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def verdicts(states: dict[Run, str]) -> list[tuple[bool, str]]:
    """Return, for each run, whether it ended as its DAG declares, and a sentence."""
    found = []
    for run, state in states.items():
        good = state == run.expected
        text = f"{run.dag_id} ended in {state}, as it should" if good else f"{run.dag_id}: {state}, not {run.expected}"
        found.append((good, text))
    return found


def document(states: dict[Run, str], tasks: Sequence[TaskResult], wall_s: float) -> dict[str, Any]:
    """Return the JSON document; times in seconds."""
    queued = sorted(task.queued_s for task in tasks if task.queued_s is not None)
    durations = sorted(task.duration_s for task in tasks if task.duration_s is not None)
    return {
        "tasks": [{name: value for name, value in asdict(task).items() if name != "run_id"} for task in tasks],
        "totals": {
            "runs": len(states),
            "runs_as_declared": sum(good for good, _ in verdicts(states)),
            "tasks": len(tasks),
            "succeeded": sum(task.state == "success" for task in tasks),
            "failed": sum(task.state in ("failed", "upstream_failed") for task in tasks),
            "queued_p50_s": statistics.median(queued) if queued else None,
            "queued_max_s": queued[-1] if queued else None,
            "duration_p50_s": statistics.median(durations) if durations else None,
            "wall_s": wall_s,
        },
    }
