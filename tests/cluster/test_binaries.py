"""The order in which the programs of a control plane are searched, and the error if there are none."""

import tarfile
from pathlib import Path

import pytest

from edge_images.commands import UnavailableError
from edge_testing.prepare import chosen, main
from edge_testing.programs import binaries
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


@pytest.fixture
def builds(machine: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that can build, with a script that stands in for the build; a file with a line per build."""
    record = machine / "builds"
    script = machine / "build.sh"
    steps = [f"echo built >> {record}", "echo '==> Compiling'", *(f"echo > $1/{name}" for name in CONTROL_PLANE)]
    script.write_text("\n".join(["#!/bin/sh", "set -e", *steps, ""]))
    script.chmod(0o755)
    # The rest of the programs, so that nothing is downloaded.
    for program in ("apt-get", "helm", "prometheus", "promtool"):
        _program(machine / "bin" / program)
    monkeypatch.setattr(binaries, "BUILD_SCRIPT", script)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return record


def test_no_test_waits_for_a_build(builds: Path) -> None:
    """A build takes minutes, more than a test may."""
    with pytest.raises(UnavailableError, match=r"python -m edge_testing\.prepare"):
        find_binaries()
    assert not builds.exists()


def test_the_build_runs_before_the_tests_once_and_shows_its_progress(
    builds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["tests/kube", "--durations=25"])
    assert "Compiling" in capsys.readouterr().out
    main(["tests/kube"])
    assert "Compiling" not in capsys.readouterr().out
    assert builds.read_text().splitlines() == ["built"]
    assert "the cache" in find_binaries().source


def test_a_run_of_other_tests_prepares_nothing(builds: Path) -> None:
    main(["tests/unit", "-k", "chart"])
    assert not builds.exists()
    main(["tests/unit", "tests/chart/test_install.py::test_x"])
    assert builds.exists()


def test_what_is_prepared_depends_on_the_tests() -> None:
    def folders(*arguments: str) -> set[str]:
        return {folder for step in chosen(arguments) for folder in step.folders}

    assert folders("tests/unit", "tests/store/test_jobs.py", "--durations=5") == set()
    assert folders("tests/hosts", "-k", "x") == {"hosts"}
    everything = {"chart", "kube", "e2e", "hosts", "provider", "ui"}
    assert folders("--durations=25") == folders("tests/", "-x") == everything
    assert folders("--slow") == everything | {"v1"}


def test_a_failed_build_is_reported_and_other_tests_run(builds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    binaries.BUILD_SCRIPT.write_text("#!/bin/sh\necho no Go here\nexit 1\n")
    main(["tests/chart"])
    assert "no Go here" in capsys.readouterr().out
    with pytest.raises(UnavailableError):
        find_binaries()
