"""The fleet page's bundle: it is in the wheel, its types are current, and its own tests pass."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from edge_provider.ui.plugin import EdgePlugin
from edge_testing.repository import REPOSITORY
from edge_testing.skipping import cannot_run
from edge_testing.ui.describe import FOLDER, TYPES, types

NODE = REPOSITORY / ".tools" / "node"
UV = REPOSITORY / ".tools" / "bin" / "uv"


@pytest.fixture
def built() -> None:
    if not (FOLDER / "node_modules" / ".built").is_file():
        cannot_run("the fleet page was not built: make setup needs npm's registry")


@pytest.mark.usefixtures("built")
def test_the_wheel_has_the_bundle_that_the_plugin_names(tmp_path: Path) -> None:
    subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", tmp_path, REPOSITORY / "provider"], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    apps = EdgePlugin().react_apps
    assert len({app["name"] for app in apps}) == len(apps) == 3
    for app in apps:
        for field in ("bundle_url", "icon", "icon_dark_mode"):
            assert app[field].replace("edge_ui/", "edge_provider/ui/") in names
    assert not [name for name in names if "node_modules" in name or name.endswith(".tsx")]


@pytest.mark.usefixtures("built")
def test_the_types_of_the_pages_are_those_of_the_backend() -> None:
    assert types() == TYPES.read_text(), "run python -m edge_testing.ui.describe"


@pytest.mark.usefixtures("built")
def test_the_pages() -> None:
    done = subprocess.run([FOLDER / "build.sh", "test", NODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_a_bundle_there_is_no_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edge_provider.ui.plugin.STATIC", tmp_path)
    assert EdgePlugin().react_apps == []
