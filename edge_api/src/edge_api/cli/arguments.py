"""Types of command-line arguments, each with an error that says what to give."""

import argparse
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from edge_protocol.admin import LABEL_MAX, TEAM_MAX
from edge_protocol.limits import AllowedNames, QueueName, WorkerPattern

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> timedelta:
    """Read a time such as 30m."""
    match = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; give one like 30m, 24h or 7d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def positive(text: str) -> int:
    """Read a number of uses."""
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of uses; give 1 or more")
    return int(text)


def identifier(text: str) -> UUID:
    """Read an id."""
    try:
        return UUID(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an id; give one from the list") from error


def _of_length(what: str, most: int) -> Callable[[str], str]:
    """Return a reader of texts that are neither empty nor too long."""

    def read(text: str) -> str:
        if not 1 <= len(text) <= most:
            raise argparse.ArgumentTypeError(f"{what} has 1 to {most} characters")
        return text

    return read


label: Final = _of_length("a label", LABEL_MAX)
team: Final = _of_length("the name of a team", TEAM_MAX)


def queues(text: str) -> list[str]:
    """Read names of queues, separated by commas."""
    try:
        return TypeAdapter(list[QueueName]).validate_python([name.strip() for name in text.split(",")])
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"invalid queue name: {error.errors()[0]['msg']}") from error


def allowed_names(text: str) -> list[str]:
    """Read names of Connections or Variables, or prefixes and a star, separated by commas; an empty text is none."""
    try:
        return TypeAdapter(AllowedNames).validate_python([name.strip() for name in text.split(",")] if text else [])
    except ValidationError as error:
        raise argparse.ArgumentTypeError(
            f"{text[:300]!r} is no list of names; give names, or the start of names and a star, like 'plant_*', "
            f"separated by commas ({error.errors()[0]['msg']})"
        ) from error


def add_allowed_names(parser: argparse.ArgumentParser, who: str) -> None:
    """Let a command have `--connections` and `--variables`; `who` says what the names limit."""
    for kind in ("Connections", "Variables"):
        parser.add_argument(
            f"--{kind.lower()}",
            type=allowed_names,
            metavar="A,B",
            help=f"only these {kind} {who}: names, or 'PREFIX*'; an empty text: none; default: any",
        )


def worker_pattern(text: str) -> str:
    """Read the workers of a scope: a name, or the start of names and a star."""
    try:
        return TypeAdapter(WorkerPattern).validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no pattern of a scope; give a worker's name, or the start of names and a star, like 'plant-*'"
        ) from error
