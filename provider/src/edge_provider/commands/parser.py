"""The commands `airflow edge …`, with the names and flags of Airflow's own edge provider.

Every Airflow command imports this module, so it only describes the commands; their code is imported when one is called.
"""

from typing import Any, Final

from airflow.cli.cli_config import ARG_PID, ARG_VERBOSE, ActionCommand, Arg, GroupCommand, lazy_load_command

_FORMATS: Final = ("table", "json", "yaml", "plain")

_CONCURRENCY = Arg(("-c", "--concurrency"), help="Slots for tasks (default: [edge] worker_concurrency)")
_QUEUES = Arg(
    ("-q", "--queues"),
    help="Queues to serve, separated by commas (default: those of its credential, or 'default' if that grants any)",
)
_TEAM = Arg(("-t", "--team-name"), help="Refuse to start if the worker's credential belongs to another team")
_HOSTNAME = Arg(("-H", "--edge-hostname"), help="Name of the worker (default: the host's name)")
_HOSTNAME_REQUIRED = Arg(("-H", "--edge-hostname"), help="Name of the worker", required=True)
_DAEMON = Arg(("-D", "--daemon"), help="Run in the background", action="store_true")
_UMASK = Arg(("-u", "--umask"), help="Umask of the background worker, octal")
_STDOUT = Arg(("--stdout",), help="File for stdout of the background worker")
_STDERR = Arg(("--stderr",), help="File for stderr of the background worker, which has its log")
_LOG_FILE = Arg(("-l", "--log-file"), help="File for Airflow's log of starting the background worker")
_ON_OFF = Arg(("maintenance",), help="Enter or leave maintenance", choices=("on", "off"))
_COMMENTS = Arg(("-c", "--comments"), help="Reason, at most 1,024 characters; required for 'on'")
_COMMENTS_REQUIRED = Arg(("-c", "--comments"), help="Reason, at most 1,024 characters", required=True)
_WAIT_MAINTENANCE = Arg(("-w", "--wait"), help="Wait until it has taken effect", action="store_true")
_WAIT_STOP = Arg(("-w", "--wait"), help="Wait until the worker has stopped", action="store_true")
_OUTPUT = Arg(("-o", "--output"), help="Output format (table)", choices=_FORMATS, default="table")
_OUTPUT_STATUS = Arg(("-o", "--output"), help="Output format (json)", choices=_FORMATS, default="json")
_STATE = Arg(("-s", "--state"), help="Only workers in any of these states", nargs="+")
_PATTERN = Arg(("--worker-name-pattern",), help="Only workers whose name matches, for example 'plant-*'")
_QUEUES_FILTER = Arg(("-q", "--queues"), help="Only workers that serve any of these queues, separated by commas")
_QUEUES_CHANGE = Arg(("-q", "--queues"), help="Queues, separated by commas", required=True)
_CONCURRENCY_REQUIRED = Arg(("-c", "--concurrency"), type=int, help="Slots for tasks", required=True)
_YES = Arg(("-y", "--yes"), help="Do not ask for confirmation", action="store_true")


def _local(name: str, text: str, *args: Arg) -> ActionCommand:
    function = f"edge_provider.commands.local_worker.{name}"
    return ActionCommand(name=name, help=text, func=lazy_load_command(function), args=(*args, ARG_PID, ARG_VERBOSE))


def _remote(name: str, function: str, text: str, *args: Arg) -> ActionCommand:
    return ActionCommand(
        name=name, help=text, func=lazy_load_command(f"edge_provider.commands.fleet.{function}"), args=args
    )


def get_cli_commands() -> list[Any]:
    """Return the groups of commands."""
    return [
        GroupCommand(
            name="edge",
            help="Edge workers",
            description="Run an edge worker on this host, and manage the fleet through the edge API.",
            subcommands=(*_local_commands(), *_remote_commands()),
        )
    ]


def _local_commands() -> list[ActionCommand]:
    background = (_DAEMON, _STDOUT, _STDERR, _LOG_FILE, _UMASK)
    return [
        _local("worker", "Start an edge worker", _CONCURRENCY, _QUEUES, _TEAM, _HOSTNAME, *background),
        _local("status", "Show the worker on this host", _HOSTNAME, _OUTPUT_STATUS),
        _local(
            "maintenance",
            "Enter or leave maintenance on this host's worker",
            *(_ON_OFF, _COMMENTS, _WAIT_MAINTENANCE, _HOSTNAME, _OUTPUT_STATUS),
        ),
        _local("stop", "Stop the worker on this host", _WAIT_STOP, _HOSTNAME),
    ]


def _remote_commands() -> list[ActionCommand]:
    host = _HOSTNAME_REQUIRED
    return [
        _remote("list-workers", "list_workers", "List the workers", _OUTPUT, _STATE, _PATTERN, _QUEUES_FILTER),
        _remote(
            "remote-edge-worker-request-maintenance",
            "request_maintenance",
            "Put a worker into maintenance",
            *(host, _COMMENTS_REQUIRED),
        ),
        _remote(
            "remote-edge-worker-update-maintenance-comment",
            "update_maintenance_comment",
            "Change the comment of a maintenance",
            *(host, _COMMENTS_REQUIRED),
        ),
        _remote("remote-edge-worker-exit-maintenance", "exit_maintenance", "End a worker's maintenance", host),
        _remote("shutdown-remote-edge-worker", "shutdown_worker", "Stop a worker once its tasks have ended", host),
        _remote("shutdown-all-workers", "shutdown_all_workers", "Stop all workers once their tasks have ended", _YES),
        _remote("remove-remote-edge-worker", "remove_worker", "Remove a worker that is offline or lost", host),
        _remote("add-worker-queues", "add_worker_queues", "Add queues to a worker", host, _QUEUES_CHANGE),
        _remote("remove-worker-queues", "remove_worker_queues", "Remove queues from a worker", host, _QUEUES_CHANGE),
        _remote(
            "set-worker-concurrency",
            "set_worker_concurrency",
            "Change a worker's slots",
            *(host, _CONCURRENCY_REQUIRED),
        ),
    ]
