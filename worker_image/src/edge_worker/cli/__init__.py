"""The command `edge-worker`: one module per group of commands."""

import argparse
import sys
from collections.abc import Sequence

from edge_worker import __version__
from edge_worker.cli import local, run
from edge_worker.errors import WorkerError
from edge_worker.host.agent_log import log_to_stderr
from edge_worker.settings import load_settings

_NOT_SETTINGS = {"command", "handler"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 for success, otherwise one of `edge_worker.errors`."""
    arguments = vars(_parser().parse_args(argv))
    handler = arguments["handler"]
    try:
        settings = load_settings({name: value for name, value in arguments.items() if name not in _NOT_SETTINGS})
        log_to_stderr(settings.log_level)
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
    run.add_commands(commands)
    local.add_commands(commands)
    return parser
