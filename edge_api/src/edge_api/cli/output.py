"""Output of commands: a table for people, plain, JSON and YAML for scripts."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

import yaml
from pydantic import BaseModel

FORMATS: Final = ("table", "json", "yaml", "plain")


def add_output_option(parser: argparse.ArgumentParser) -> None:
    """Let a command have `-o`."""
    parser.add_argument("-o", "--output", choices=FORMATS, default="table", help="format; default: table")


def write(items: Sequence[BaseModel], columns: Sequence[str], output: str) -> None:
    """Print items; `columns` are those of table and plain, JSON and YAML have all fields."""
    if output in ("json", "yaml"):
        write_data([item.model_dump(mode="json") for item in items], output)
        return
    rows = [[_cell(getattr(item, column)) for column in columns] for item in items]
    head = [] if output == "plain" else [list(columns)]
    for line in _aligned([*head, *rows]):
        sys.stdout.write(f"{line}\n")


def write_data(data: Any, output: str) -> None:
    """Print data as JSON or YAML."""
    if output == "json":
        sys.stdout.write(f"{json.dumps(data, indent=2)}\n")
    else:
        yaml.safe_dump(data, sys.stdout, sort_keys=False)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ",".join(str(each) for each in value) or "(none)"
    if hasattr(value, "isoformat"):
        return str(value.isoformat(timespec="seconds"))
    return str(value)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
