"""The command `edge-worker`."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from edge_worker import __version__, agentlog
from edge_worker.cli import local
from edge_worker.connection.enrolment import enroll, enroll_patiently, read_join_token
from edge_worker.errors import ConfigError, WorkerError
from edge_worker.host.state import StateFolder, StoredCredential
from edge_worker.main import run_agent
from edge_worker.settings import WorkerSettings, load_settings

_NOT_SETTINGS = {"command", "handler"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code, as `edge_worker.errors` has them; 0: done."""
    arguments = vars(_parser().parse_args(argv))
    handler = arguments["handler"]
    try:
        settings = load_settings({name: value for name, value in arguments.items() if name not in _NOT_SETTINGS})
        agentlog.configure(settings.log_level)
        handler(settings, arguments)
    except WorkerError as error:
        print(f"edge-worker: {error}", file=sys.stderr)  # noqa: T201 - the command's answer
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-worker",
        description="Runs Airflow tasks on this host, over outbound HTTPS only.",
        epilog="Every option can also be set as EDGE_WORKER_<OPTION> in the environment.",
    )
    parser.add_argument("--version", action="version", version=f"edge-worker {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, handler, text in (
        ("enroll", _enroll, "trade a join token for this worker's credential"),
        ("run", _run, "connect and run tasks until told to stop; enrols first where a join token is given"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(handler=handler)
        _add_identity(command)
        if name == "run":
            _add_running(command)
    local.add_commands(commands)
    return parser


def _add_identity(command: argparse.ArgumentParser) -> None:
    command.add_argument("--api-url", help="base URL of the edge API")
    command.add_argument("--name", help="unique name of this worker; the host's name unless given")
    command.add_argument("-q", "--queues", help="queues to serve, separated by commas; all granted ones unless given")
    command.add_argument("--state-dir", help="folder for credential, spool and learned modules")
    command.add_argument("--ca-bundle", help="PEM file of the authorities to trust")
    command.add_argument("--join-token-file", help="file with the join token; '-' reads it from stdin")


def _add_running(command: argparse.ArgumentParser) -> None:
    command.add_argument("-c", "--concurrency", help="slots for tasks (8)")
    command.add_argument("--execution-api-url", help="Airflow's Execution API as seen from this host")
    command.add_argument("--transport", help="auto, websocket or sync (auto)")
    command.add_argument("--drain-timeout", dest="drain_timeout_s", help="seconds for tasks to end at a stop (3600)")
    command.add_argument("--health-check", help="module:function that says whether this host should take jobs")
    command.add_argument("--team", help="refuse to start unless the credential is of this team")
    command.add_argument(
        "--no-fork", dest="fork", action="store_const", const=False, help="a fresh interpreter for each task"
    )


def _enroll(settings: WorkerSettings, arguments: dict[str, Any]) -> None:
    state = StateFolder(settings.state_folder)
    state.prepare()
    credential = _trade(settings, state, arguments["join_token_file"] or settings.join_token_file, required=True)
    assert credential is not None  # noqa: S101 - required above
    print(f"enrolled {credential.worker} until {credential.expires_at:%Y-%m-%d}; state in {state.root}")  # noqa: T201


def _run(settings: WorkerSettings, arguments: dict[str, Any]) -> None:
    state = StateFolder(settings.state_folder)
    state.prepare()
    credential = state.read_credential()
    if credential is None or credential.expires_at <= datetime.now(UTC):
        token_file = arguments["join_token_file"] or settings.join_token_file
        # Without a token an expired one is shown all the same: this host's clock may be the one that is wrong.
        credential = _trade(settings, state, token_file, required=False) or credential
    if credential is None:
        raise ConfigError(
            f"worker {settings.name!r} is not enrolled (no credential in {state.root}); run: edge-worker enroll"
        )
    if credential.worker != settings.name:
        raise ConfigError(
            f"{state.root} holds the credential of worker {credential.worker!r}, not {settings.name!r}; "
            "give that --name, or another --state-dir"
        )
    if settings.team is not None and credential.team != settings.team:
        raise ConfigError(
            f"the credential of worker {credential.worker!r} is of {_team(credential.team)}, not of team "
            f"{settings.team!r}; enrol with a join token of that team, or leave --team out"
        )
    asyncio.run(run_agent(settings, state, credential))


def _trade(
    settings: WorkerSettings, state: StateFolder, token_file: object, *, required: bool
) -> StoredCredential | None:
    token = read_join_token(str(token_file) if token_file else None, required=required)
    if token is None:
        return None
    # A human at `enroll` wants to know at once; what starts by itself may come up before the edge API does.
    credential = asyncio.run(enroll(settings, token) if required else enroll_patiently(settings, token))
    state.write_credential(credential)
    return credential


def _team(name: str | None) -> str:
    return "no team" if name is None else f"team {name!r}"
