"""What is kept of the numbers that a worker reports about its host. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from edge_store.workers.agents import Sample

NUMBER_LEAST: Final = 1e-30
NUMBER_MOST: Final = 1e9
BYTES_MOST: Final = 2**63


def sample_of(sysinfo: Mapping[str, Any]) -> Sample:
    """Return the numbers under the names that this project's workers use.

    A worker may send anything under these names. What is no sensible number is left out, since one that does not fit
    into its column would keep the heartbeats of all other workers from being written.
    """
    disk = sysinfo.get("disk_free_bytes")
    return Sample(
        load1=_number(sysinfo.get("load1")),
        cpu_percent=_number(sysinfo.get("cpu_percent")),
        memory_percent=_number(sysinfo.get("memory_percent")),
        disk_free_bytes=disk if type(disk) is int and 0 <= disk < BYTES_MOST else None,
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # PostgreSQL refuses to read smaller ones as `real`. No comparison holds for NaN.
    return float(value) if value == 0 or NUMBER_LEAST < value < NUMBER_MOST else None
