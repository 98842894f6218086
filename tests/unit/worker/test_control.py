"""Formats of the status, and the end of a command that waits."""

import json
import socket
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_protocol.worker_state import WorkerState
from edge_worker.cli.local import render
from edge_worker.host.control.address import ControlFiles
from edge_worker.host.control.messages import Request, WorkerStatus, verdict


def status(**changes: Any) -> WorkerStatus:
    values: dict[str, Any] = {
        "name": "w1",
        "state": "idle",
        "job_count": 0,
        "maintenance": False,
        "maintenance_comments": None,
        "drain": False,
        "maintenance_by": None,
        "maintenance_stored": True,
        "connected": True,
        "transport": "websocket",
        "api_url": "https://edge.example",
        "team": None,
        "queues": ["press", "paint"],
        "concurrency": 8,
        "free_slots": 8,
        "undelivered": 0,
        "health": None,
        "credential_expires_at": datetime(2027, 1, 1, tzinfo=UTC),
        "pid": 1,
        "version": "0.1.0",
        "jobs": [],
    }
    return WorkerStatus.model_validate({**values, **changes})


def test_formats_have_the_same_content() -> None:
    shown = status(maintenance=True, maintenance_comments='a: "b" # c\nd', state="maintenance mode")
    values = json.loads(render(shown, "json"))
    assert yaml.safe_load(render(shown, "yaml")) == values
    assert values["maintenance_comments"] == 'a: "b" # c\nd'
    assert "queues\tpress,paint" in render(shown, "plain").splitlines()
    assert "maintenance\tyes" in render(shown, "plain").splitlines()
    assert "jobs" not in render(shown, "plain")
    lines = render(status(), "table").splitlines()
    assert len({line.index("|") for line in lines}) == 1


ON = Request(command="maintenance", on=True, comment="x", wait=True)
OFF = Request(command="maintenance", on=False, wait=True)


@pytest.mark.parametrize(
    ("request_", "state", "maintenance", "reached"),
    [
        (ON, WorkerState.MAINTENANCE_REQUEST, True, None),
        (ON, WorkerState.MAINTENANCE_PENDING, True, None),
        (ON, WorkerState.MAINTENANCE_MODE, True, True),
        (ON, WorkerState.MAINTENANCE_EXIT, False, False),
        (ON, WorkerState.IDLE, False, False),
        (ON, WorkerState.TERMINATING, True, None),
        (OFF, WorkerState.MAINTENANCE_EXIT, False, None),
        (OFF, WorkerState.MAINTENANCE_MODE, True, None),
        (OFF, WorkerState.IDLE, False, True),
        (OFF, WorkerState.RUNNING, False, True),
        (Request(command="stop", wait=True), WorkerState.TERMINATING, False, None),
    ],
)
def test_end_of_waiting(request_: Request, state: WorkerState, maintenance: bool, reached: bool | None) -> None:
    last = verdict(request_, status(state=state, maintenance=maintenance))
    assert (None if last is None else last.reached) is reached


def test_secret_is_not_shown() -> None:
    assert "guess" not in repr(Request(command="status", token="guess"))


def test_a_process_started_while_the_socket_is_created_keeps_its_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = socket.socket.bind

    def bind_and_look(made: socket.socket, address: str) -> None:
        bind(made, address)
        (tmp_path / "made meanwhile").mkdir()

    monkeypatch.setattr(socket.socket, "bind", bind_and_look)
    files = ControlFiles(tmp_path)
    listening, _ = files.listen()
    with listening:
        assert stat.S_IMODE((tmp_path / "made meanwhile").stat().st_mode) & stat.S_IXUSR
        assert stat.S_IMODE(files.unix.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
        listening.listen()
        files.connect(timeout_s=5)[0].close()
    assert {path.name for path in tmp_path.iterdir()} == {"made meanwhile", "control.sock"}
