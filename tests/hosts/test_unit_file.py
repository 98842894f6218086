"""The systemd unit is consistent with the worker, and valid for systemd itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from edge_testing.hosts.unit_file import SYSTEMD, read_unit
from edge_testing.skipping import cannot_run
from edge_worker import errors
from edge_worker.settings import WorkerSettings

UNIT = SYSTEMD / "edge-worker@.service"
SERVICE = read_unit(UNIT)["Service"]

SANDBOX = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectControlGroups": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallFilter": "@system-service",
}
EXPOSURE_MOST = 25
"""Exposure in tenths, as rated by `systemd-analyze security`; tasks need the rest, for example the network."""


def test_it_is_hardened_and_runs_as_its_own_user() -> None:
    assert {name: SERVICE.get(name) for name in SANDBOX} == {name: [value] for name, value in SANDBOX.items()}
    assert SERVICE["User"] == SERVICE["Group"] == ["airflow-edge"]


def test_processes_are_not_hidden() -> None:
    # Airflow's supervisor looks up its task in /proc, so processes must not be hidden.
    assert "ProtectProc" not in SERVICE
    assert "ProcSubset" not in SERVICE


def test_a_stop_drains_and_is_given_the_time_for_it() -> None:
    settings = WorkerSettings(name="w1")
    assert (SERVICE["KillMode"], SERVICE["KillSignal"]) == (["mixed"], ["SIGTERM"])
    needed = settings.drain_timeout_s + settings.kill_grace_s + settings.flush_timeout_s
    assert needed < int(SERVICE["TimeoutStopSec"][0]) < needed + 120


def test_a_worker_that_is_refused_is_not_started_again() -> None:
    refused = {
        errors.ConfigError.exit_code,
        errors.StateFolderError.exit_code,
        errors.WorkerRefusedError.exit_code,
        errors.CredentialRefusedError.exit_code,
    }
    assert SERVICE["Restart"] == ["on-failure"]
    assert {int(code) for code in SERVICE["RestartPreventExitStatus"][0].split()} == refused


@pytest.fixture
def on_this_host(tmp_path: Path) -> Path:
    """The unit with an existing program and user, since systemd checks both."""
    if shutil.which("systemd-analyze") is None:
        cannot_run("needs systemd-analyze: apt-get install systemd")
    program = shutil.which("true")
    assert program is not None
    path = tmp_path / "edge-worker@plant-7.service"
    text = UNIT.read_text().replace("/opt/airflow-edge/bin/edge-worker", program)
    path.write_text(text.replace("=airflow-edge\n", "=root\n"))
    return path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_systemd_has_nothing_to_object_to(on_this_host: Path) -> None:
    verified = analyze("verify", "--man=no", on_this_host)
    ours = [line for line in verified.stderr.splitlines() if "edge-worker" in line]
    assert (verified.returncode, ours) == (0, [])
    on_this_host.write_text(on_this_host.read_text().replace("KillMode=mixed", "KillMode=mixd"))
    assert "Failed to parse kill mode" in analyze("verify", "--man=no", on_this_host).stderr


def test_what_systemd_says_of_its_exposure(on_this_host: Path) -> None:
    rated = analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MOST}", on_this_host)
    assert rated.returncode == 0, rated.stdout + rated.stderr
