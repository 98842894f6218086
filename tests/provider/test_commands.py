"""`airflow edge`: commands and flags of Airflow's own edge provider, and their replacements."""

import argparse
from pathlib import Path

import pytest
from airflow.cli.cli_config import ActionCommand

from edge_protocol.worker_state import WorkerState
from edge_provider.admin_settings import admin_token, base_url
from edge_provider.commands import fleet, local_worker
from edge_provider.commands.common import UsageError
from edge_provider.commands.parser import get_cli_commands

FLAGS = {
    "worker": "-c -q -t -H --pid -v -D --stdout --stderr -l -u",
    "status": "--pid -v",
    "maintenance": "-c -w --pid -v",
    "stop": "-w --pid -v",
    "list-workers": "-o -s --worker-name-pattern -q",
    "remote-edge-worker-request-maintenance": "-H -c",
    "remote-edge-worker-exit-maintenance": "-H",
    "remote-edge-worker-update-maintenance-comment": "-H -c",
    "remove-remote-edge-worker": "-H",
    "shutdown-remote-edge-worker": "-H",
    "shutdown-all-workers": "-y",
    "add-worker-queues": "-H -q",
    "remove-worker-queues": "-H -q",
    "set-worker-concurrency": "-H -c",
}
"""The commands of edge3 5.1.0."""


def commands() -> dict[str, ActionCommand]:
    [group] = get_cli_commands()
    assert group.name == "edge"
    return {each.name: each for each in group.subcommands}


def test_commands_of_edge3_are_all_there() -> None:
    assert commands().keys() == FLAGS.keys()


@pytest.mark.parametrize("name", FLAGS)
def test_flags_of_edge3_are_all_there(name: str) -> None:
    parser = argparse.ArgumentParser()
    for arg in commands()[name].args:
        arg.add_to_parser(parser)
    known = {flag for action in parser._actions for flag in action.option_strings}
    assert set(FLAGS[name].split()) <= known


def worker(**changes: object) -> argparse.Namespace:
    values = {"edge_hostname": None, "queues": None, "team_name": None, "concurrency": None}
    return argparse.Namespace(**{**values, **changes})


def test_command_line_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_WORKER_API_URL", raising=False)
    assert local_worker.worker_arguments(worker()) == ["run"]
    monkeypatch.setenv("AIRFLOW__EDGE__API_URL", "https://airflow.example/edge_worker/v1/rpcapi")
    monkeypatch.setenv("AIRFLOW__EDGE__WORKER_CONCURRENCY", "3")
    given = worker(edge_hostname="w1", queues="a,-b", team_name="blue", concurrency="4")
    assert local_worker.worker_arguments(given) == [
        *("run", "--name=w1", "--queues=a,-b", "--team=blue", "--concurrency=4", "--api-url=https://airflow.example")
    ]
    monkeypatch.setenv("EDGE_WORKER_API_URL", "https://other.example")
    assert local_worker.worker_arguments(worker()) == ["run", "--concurrency=3"]


@pytest.mark.parametrize(
    ("url", "base"),
    [
        (None, None),
        ("", None),
        ("https://a.example/", "https://a.example"),
        ("https://a.example/x/edge_worker/v1/rpcapi", "https://a.example/x"),
    ],
)
def test_base_url(url: str | None, base: str | None) -> None:
    assert base_url(url) == base


def test_states() -> None:
    assert fleet.parse_states(None) is None
    assert fleet.parse_states(["idle", "maintenance_mode", "shutdown request"]) == [
        *(WorkerState.IDLE, WorkerState.MAINTENANCE_MODE, WorkerState.SHUTDOWN_REQUEST)
    ]
    with pytest.raises(UsageError, match="no worker state 'happy'; there are: starting, idle"):
        fleet.parse_states(["idle", "happy"])


def test_queues() -> None:
    assert fleet.parse_queues(" a, b ,,c") == ["a", "b", "c"]
    assert fleet.parse_queues("q" * 256) == ["q" * 256]
    with pytest.raises(UsageError, match="257 characters"):
        fleet.parse_queues("a," + "q" * 257)
    with pytest.raises(UsageError, match="no queue is named"):
        fleet.parse_queues(" , ")


def test_comment() -> None:
    assert fleet.parse_comment(f" {'x' * 1024} ") == "x" * 1024
    with pytest.raises(UsageError, match="1,025"):
        fleet.parse_comment("x" * 1025)


def test_token_from_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    monkeypatch.setenv("AIRFLOW__EDGE__ADMIN_TOKEN_FILE", str(tmp_path / "token"))
    assert admin_token() == "from-file"
    monkeypatch.setenv("AIRFLOW__EDGE__ADMIN_TOKEN", " from-env ")
    assert admin_token() == "from-env"
