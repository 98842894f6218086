"""The Windows service, as far as it can be checked on other systems; it does not run here."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from edge_testing.repository import REPOSITORY
from edge_worker import cli
from edge_worker.agent import runner_pool
from edge_worker.errors import RunnerBrokenError
from edge_worker.host.state import StateFolder, StateLocks
from edge_worker.settings import WorkerSettings, default_state_root

FOLDER = REPOSITORY / "worker_image" / "windows"


def test_the_installer_fills_in_all_that_is_open() -> None:
    service = (FOLDER / "edge-worker.xml").read_text()
    script = (FOLDER / "install.ps1").read_text()
    filled = re.search(r"\$Values = @\{(.*)\}", script)
    assert filled is not None
    assert set(re.findall(r"@([A-Z_]+)@", service)) == set(re.findall(r"([A-Z_]+) =", filled[1]))


def test_the_installer_takes_nothing_from_an_index() -> None:
    script = (FOLDER / "install.ps1").read_text()
    (install,) = re.findall(r"'pip', 'install'.*", script)
    assert "'--no-index'" in install
    assert "[Parameter(Mandatory, ParameterSetName = 'Install')] [string] $Wheels" in script


def test_it_gives_commands_that_the_worker_has() -> None:
    root = ET.parse(FOLDER / "edge-worker.xml").getroot()  # noqa: S314  (a file of this project)
    for tag in ("arguments", "stoparguments"):
        command = root.findtext(tag)
        assert command is not None
        assert cli._parser().parse_args(command.split()).command == command.split()[0]
    for variable in root.findall("env"):
        assert variable.attrib["name"].removeprefix("EDGE_WORKER_").lower() in WorkerSettings.model_fields
    stop_timeout = root.findtext("stoptimeout")
    assert stop_timeout is not None
    assert int(stop_timeout.removesuffix(" sec")) > WorkerSettings(name="w1").drain_timeout_s


def test_on_windows_the_worker_says_that_tasks_can_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = StateFolder(tmp_path / "state")
    state.prepare()
    locks = StateLocks.acquire(state)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(RunnerBrokenError, match=r"WSL 2.*docs/windows\.md"):
        runner_pool(WorkerSettings(name="w1"), state, locks)
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path))
    assert default_state_root() == tmp_path / "airflow-edge"
    monkeypatch.undo()
    locks.close()
