"""Images contain the package versions that the tests run with."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _pins(path: Path) -> set[str]:
    lines = (line.split() for line in path.read_text().splitlines() if "==" in line and not line.startswith(" "))
    return {line[0] for line in lines}


@pytest.mark.parametrize("name", ["airflow", "edge-api", "operator", "worker"])
def test_lock_files_of_images_agree_with_the_workspace(name: str) -> None:
    pins = _pins(ROOT / "requirements" / f"{name}.txt")
    assert pins
    assert pins <= _pins(ROOT / "requirements.lock"), "make lock writes all of them"
