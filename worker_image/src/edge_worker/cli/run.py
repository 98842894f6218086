"""The worker's own process: `enroll` stores its credential, `run` connects and runs tasks."""

import argparse
import asyncio
from datetime import UTC, datetime
from typing import Any

from edge_worker.agent import run_agent
from edge_worker.connection.credential import StoredCredential
from edge_worker.connection.enrolment import enroll, enroll_patiently, read_join_token
from edge_worker.errors import ConfigError
from edge_worker.host.state import StateFolder
from edge_worker.settings import WorkerSettings


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to the parser of `edge-worker`."""
    text = "exchange a join token for this worker's credential"
    enrolling = commands.add_parser("enroll", help=text, description=text)
    enrolling.set_defaults(handler=_enroll)
    _add_identity(enrolling)
    text = "connect and run tasks until stopped; enrols first if a join token is given"
    running = commands.add_parser("run", help=text, description=text)
    running.set_defaults(handler=_run)
    _add_identity(running)
    running.add_argument("-c", "--concurrency", help="slots for tasks (8)")
    running.add_argument("--execution-api-url", help="URL of Airflow's Execution API as seen from this host")
    running.add_argument("--transport", help="auto, websocket or sync (auto)")
    running.add_argument(
        "--drain-timeout", dest="drain_timeout_s", help="seconds that running tasks may take to end at a stop (3600)"
    )
    running.add_argument("--health-check", help="module:function that decides whether this host should take jobs")
    running.add_argument("--team", help="refuse to start unless the credential belongs to this team")
    running.add_argument(
        "--no-fork", dest="fork", action="store_const", const=False, help="start a fresh interpreter for each task"
    )


def _add_identity(command: argparse.ArgumentParser) -> None:
    command.add_argument("--api-url", help="base URL of the edge API")
    command.add_argument(
        "--allow-plain-http",
        action="store_const",
        const=True,
        help="allow an http:// URL of another host, where the network itself is protected",
    )
    command.add_argument("--name", help="unique name of this worker (the host's name)")
    command.add_argument(
        "-q",
        "--queues",
        help="queues to serve, separated by commas (those that the credential lists; `default` if it grants any)",
    )
    command.add_argument("--state-dir", help="folder for credential, spool and learned modules")
    command.add_argument("--ca-bundle", help="PEM file of the CAs to trust")
    command.add_argument("--join-token-file", help="file with the join token; '-' reads it from stdin")


def _enroll(settings: WorkerSettings, arguments: dict[str, Any]) -> None:
    state = StateFolder(settings.state_folder)
    state.prepare()
    token = read_join_token(arguments["join_token_file"] or settings.join_token_file, required=True)
    assert token is not None  # noqa: S101 - required above
    # Without retries: a person waits for the answer.
    credential = asyncio.run(enroll(settings, token))
    credential.write(state)
    print(f"enrolled {credential.worker} until {credential.expires_at:%Y-%m-%d}; state in {state.root}")  # noqa: T201


def _run(settings: WorkerSettings, arguments: dict[str, Any]) -> None:
    state = StateFolder(settings.state_folder)
    state.prepare()
    credential = StoredCredential.read(state)
    if credential is None or credential.expires_at <= datetime.now(UTC):
        token = read_join_token(arguments["join_token_file"] or settings.join_token_file, required=False)
        # An expired credential is used if there is no token: it may be this host's clock that is wrong.
        if token is not None:
            # With retries: a service may start before the edge API does.
            credential = asyncio.run(enroll_patiently(settings, token))
            credential.write(state)
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
        team = "no team" if credential.team is None else f"team {credential.team!r}"
        raise ConfigError(
            f"the credential of worker {credential.worker!r} belongs to {team}, not to team {settings.team!r}; "
            "enrol with a join token of that team, or omit --team"
        )
    asyncio.run(run_agent(settings, state, credential))
