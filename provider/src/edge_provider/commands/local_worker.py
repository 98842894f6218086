"""Commands on the worker of this host. Each replaces its process with `edge-worker`, which knows nothing of Airflow.

So signals, the exit code and the process ID are those of `edge-worker`.
"""

import importlib.util
import os
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

from airflow import settings
from airflow.cli.commands.daemon_utils import run_command_with_daemon_option
from airflow.configuration import conf

from edge_provider.admin_settings import sites_url
from edge_provider.commands.common import UsageError, command

PROCESS_NAME = "edge-worker"
_API_URL_ENV = "EDGE_WORKER_API_URL"


@command
def worker(args: Namespace) -> None:
    """Start an edge worker."""
    arguments = worker_arguments(args)
    program = find_program()
    if args.daemon:
        umask = args.umask or conf.get("edge", "worker_umask", fallback=settings.DAEMON_UMASK)
        run_command_with_daemon_option(
            args=args,
            process_name=PROCESS_NAME,
            callback=lambda: replace_process([*program, *arguments], verbose=args.verbose),
            pid_file=args.pid,
            umask=umask,
        )
    if args.pid:
        _write_pid(Path(args.pid))
    replace_process([*program, *arguments], verbose=args.verbose)


@command
def status(args: Namespace) -> None:
    """Show the worker on this host."""
    replace_process([*find_program(), "status", "--output", args.output, *_which(args)], verbose=args.verbose)


@command
def maintenance(args: Namespace) -> None:
    """Put the worker on this host into maintenance, or end it."""
    arguments = ["maintenance", args.maintenance, "--output", args.output, *_which(args)]
    if args.comments is not None:
        arguments.append(f"--comments={args.comments}")
    if args.wait:
        arguments.append("--wait")
    replace_process([*find_program(), *arguments], verbose=args.verbose)


@command
def stop(args: Namespace) -> None:
    """Stop the worker on this host."""
    wait = ["--wait"] if args.wait else []
    replace_process([*find_program(), "stop", *wait, *_which(args)], verbose=args.verbose)


def worker_arguments(args: Namespace) -> list[str]:
    """Return the arguments of `edge-worker` for `airflow edge worker`; Airflow's configuration fills in defaults."""
    values = {
        "--name": args.edge_hostname,
        "--queues": args.queues,
        "--team": args.team_name,
        "--concurrency": args.concurrency or conf.get("edge", "worker_concurrency", fallback=None),
    }
    if not os.environ.get(_API_URL_ENV):
        values["--api-url"] = sites_url()
    return ["run", *(f"{option}={value}" for option, value in values.items() if value)]


def find_program() -> list[str]:
    """Return the command that starts `edge-worker`.

    Raises:
        UsageError: it is not installed.

    """
    # First the one of this interpreter: one on the PATH may have another version.
    if importlib.util.find_spec("edge_worker") is not None:
        return [sys.executable, "-m", "edge_worker"]
    found = shutil.which("edge-worker")
    if found is None:
        raise UsageError("edge-worker is not installed here; install the package airflow-edge-worker")
    return [found]


def replace_process(program: list[str], *, verbose: bool) -> NoReturn:
    """Replace this process with another program."""
    if verbose:
        os.environ["EDGE_WORKER_LOG_LEVEL"] = "DEBUG"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program[0], program)  # noqa: S606 - a list of arguments, no shell


def _which(args: Namespace) -> list[str]:
    values = {"--name": args.edge_hostname, "--pid": args.pid}
    return [f"{option}={value}" for option, value in values.items() if value]


def _write_pid(file: Path) -> None:
    try:
        file.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        raise UsageError(f"PID file {file} cannot be written ({error.strerror}); give another --pid") from error
