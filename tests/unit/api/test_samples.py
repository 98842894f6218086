"""Which of a worker's numbers are kept."""

import math
from typing import Any

import pytest

from edge_api.fleet.samples import sample_of
from edge_store.workers.agents import Sample


def test_the_numbers_of_a_worker() -> None:
    info = {"load1": 0.4, "cpu_percent": 0, "memory_percent": 40.1, "disk_free_bytes": 21 << 30, "other": "x"}
    assert sample_of(info) == Sample(0.4, 0.0, 40.1, 21 << 30)
    assert sample_of({}) == Sample()


@pytest.mark.parametrize("value", ["12", None, True, math.nan, math.inf, -1, 1e300, 10**400, 1e-300, 5e-324, [1]])
def test_anything_else_is_left_out(value: Any) -> None:
    assert sample_of(dict.fromkeys(("load1", "cpu_percent", "memory_percent", "disk_free_bytes"), value)) == Sample()
