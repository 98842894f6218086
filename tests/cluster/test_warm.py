"""Processes from a warm interpreter are like those from a fresh one."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_demo.processes import ManagedProcess

EDGE_API = (sys.executable, "-m", "edge_api")


def run(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*EDGE_API, *arguments], capture_output=True, text=True, check=False, timeout=60, **options)


def is_warm(pid: int) -> bool:
    return b"warm/server.py" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture
def waiting(tmp_path: Path) -> ManagedProcess:
    """A process that waits for a database that does not exist."""
    env = {**os.environ, "EDGE_API_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    command = [*EDGE_API, "db", "wait", "--timeout", "1h"]
    return ManagedProcess("waiting", command, env, tmp_path / "log", tmp_path)


def test_output_and_exit_code() -> None:
    shown = run("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("usage: edge-api")
    refused = run("nonsense")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "'nonsense'" in refused.stderr


def test_environment_is_the_one_that_is_given() -> None:
    refused = run("credential", "create", "--role", "read", env={**os.environ, "EDGE_API_DATABASE_URL": "no URL"})
    assert refused.returncode == 2
    assert "The database URL can't be read" in refused.stderr


def test_process_of_its_own_that_signals_end(waiting: ManagedProcess) -> None:
    waiting.start()
    assert is_warm(waiting.pid)
    assert os.getpgid(waiting.pid) == os.getsid(waiting.pid) == waiting.pid
    assert Path(f"/proc/{waiting.pid}/cwd").readlink() == waiting.cwd
    assert Path(f"/proc/{waiting.pid}/stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
    assert {path.name for path in Path(f"/proc/{waiting.pid}/fd").iterdir()} >= {"0", "1", "2"}
    waiting.kill()
    assert waiting.returncode == -signal.SIGKILL


def test_variables_of_the_interpreter_need_a_fresh_one(waiting: ManagedProcess) -> None:
    waiting.env["PYTHONFAULTHANDLER"] = "1"
    waiting.start()
    assert not is_warm(waiting.pid)
    waiting.kill()
