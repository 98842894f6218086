"""The order in which the programs of a control plane are searched, and the error if there are none."""

import tarfile
from pathlib import Path

import pytest

from edge_images.commands import UnavailableError
from edge_testing.programs.binaries import CONTROL_PLANE, find_binaries


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache and only the sources that a test adds."""
    monkeypatch.setenv("EDGE_TEST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("KUBE_ASSETS_ARCHIVE", raising=False)
    (tmp_path / "bin").mkdir()
    for program in ("etcd", "kubectl"):
        _program(tmp_path / "bin" / program)
    return tmp_path


def _program(path: Path) -> None:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def _assets(folder: Path) -> Path:
    folder.mkdir()
    for program in CONTROL_PLANE:
        _program(folder / program)
    return folder


def test_named_assets_come_first(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = _assets(machine / "assets")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    monkeypatch.setenv("KUBE_ASSETS_ARCHIVE", str(machine / "missing.tar"))
    found = find_binaries()
    assert found.apiserver == assets / "kube-apiserver"
    assert "KUBEBUILDER_ASSETS" in found.source


def test_incomplete_assets_are_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = _assets(machine / "assets")
    (assets / "kube-controller-manager").unlink()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    with pytest.raises(UnavailableError, match="has no kube-controller-manager"):
        find_binaries()


def test_archive_fills_the_cache_and_is_not_needed_again(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = machine / "kube.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(_assets(machine / "assets"), arcname=".")
    monkeypatch.setenv("KUBE_ASSETS_ARCHIVE", str(archive))
    first = find_binaries()
    assert "KUBE_ASSETS_ARCHIVE" in first.source
    archive.unlink()
    second = find_binaries()
    assert "the cache" in second.source
    assert second.apiserver == first.apiserver
    assert second.apiserver.stat().st_mode & 0o111


def test_without_any_way_it_says_what_to_install(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(UnavailableError, match="KUBE_ASSETS_ARCHIVE"):
        find_binaries()
