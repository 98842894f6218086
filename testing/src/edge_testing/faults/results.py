"""The result file, one line per seed, and the table in docs/reliability.md that is made from it."""

import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_testing.faults.plan import MAY_COST_A_TRY, Kind
from edge_testing.faults.run import Result
from edge_testing.repository import REPOSITORY

RESULTS = Path(__file__).parent / "results.jsonl"
PAGE = REPOSITORY / "docs" / "reliability.md"
BEGIN = "<!-- made by `make faults-table` -->\n"
END = "<!-- end -->\n"


def append(result: Result, path: Path = RESULTS) -> None:
    """Add a line for a seed."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.strip()
    with path.open("a") as file:
        file.write(json.dumps({"commit": commit, **asdict(result)}) + "\n")


def read(path: Path = RESULTS) -> list[dict[str, Any]]:
    """Return all lines, oldest first."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def done(lines: Sequence[dict[str, Any]]) -> set[int]:
    """Return the seeds that need not run again: their last line has no violations."""
    return {line["seed"] for line in _last(lines) if not line["violations"]}


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the table: the last line of each seed counts."""
    last = _last(lines)
    counts: Counter[str] = Counter()
    for line in last:
        counts.update(line["faults"])
    rows = [f"| {kind} | {counts[kind]} | {'yes' if kind in MAY_COST_A_TRY else 'no'} |" for kind in Kind]
    total = (
        f"{len(last)} seeds, {sum(line['tasks'] for line in last)} tasks, {sum(counts.values())} faults in "
        f"{sum(line['seconds'] for line in last) / 60:.0f} minutes; {sum(line['tries_lost'] for line in last)} tries "
        f"were used up by faults that may do so; violations: {sum(len(line['violations']) for line in last)}."
    )
    return "\n".join([total, "", "| fault | times | may cost a try |", "|---|---|---|", *rows, ""])


def with_table(page: str, made: str) -> str:
    """Return the page with this table."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{made}{END}{after}"


def _last(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({line["seed"]: line for line in lines}.values())
