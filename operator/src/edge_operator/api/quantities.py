"""Times and numbers as Kubernetes writes them."""

import math
from datetime import UTC, datetime


def timestamp(at: datetime) -> str:
    """Return a time as Kubernetes writes it: UTC, whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_timestamp(value: str | None) -> datetime | None:
    """Return a time that Kubernetes wrote."""
    return datetime.fromisoformat(value) if value else None


def share(value: int | str, total: int, *, up: bool) -> int:
    """Return a number that is given as such or as a percentage of `total`, rounded up or down."""
    if isinstance(value, int):
        return value
    part = int(value.rstrip("%")) * total / 100
    return math.ceil(part) if up else math.floor(part)
