"""The short form of `make faults`: one seed of the campaign on a platform of its own."""

from pathlib import Path
from shutil import rmtree

import pytest

from edge_testing.faults.plan import short_plan
from edge_testing.faults.run import run_seed
from edge_testing.faults.site import new_folder

SEED = 51
"""Its short plan has 14 of the 17 kinds of faults."""


@pytest.mark.timeout(900)
def test_nothing_is_lost_when_the_world_misbehaves(tmp_path: Path) -> None:
    folder = new_folder()
    try:
        result = run_seed(short_plan(SEED), folder, tmp_path / "evidence", print)
    finally:
        rmtree(folder, ignore_errors=True)
    assert result.violations == [], f"the evidence is in {tmp_path}"
    assert result.faults
