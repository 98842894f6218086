"""Commands for the worker that runs on this host: `status`, `maintenance`, `stop`."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_protocol.limits import COMMENT_MAX
from edge_worker.errors import ConfigError, NotReachedError, NotRunningError
from edge_worker.host.control.client import call
from edge_worker.host.control.messages import Request, WorkerStatus
from edge_worker.settings import WorkerSettings

FORMATS = ("table", "json", "yaml", "plain")
EXIT_CODES = (
    "exit codes: 0 done; 1 worker not reached, or state not reached in time; 2 wrong usage or setting; "
    "3 no worker runs on this host"
)

Handler = Callable[[WorkerSettings, dict[str, Any]], None]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to the parser of `edge-worker`."""
    status = _add(commands, "status", _status, "show the worker that runs on this host")
    _add_output(status)
    maintenance = _add(
        commands,
        "maintenance",
        _maintenance,
        "put the worker on this host into maintenance, or take it out of maintenance",
    )
    maintenance.add_argument("maintenance", choices=("on", "off"), help="enter or leave maintenance")
    maintenance.add_argument(
        "-c",
        "--comments",
        help=f"the reason, for people who look at the worker; required for 'on', at most {COMMENT_MAX:,} characters",
    )
    _add_wait(maintenance, "until the last task has ended ('on') or the worker takes jobs again ('off')")
    _add_output(maintenance)
    stop = _add(commands, "stop", _stop, "stop the worker on this host once its tasks have ended")
    _add_wait(stop, "until the worker's process has ended")


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, handler: Handler, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text, epilog=EXIT_CODES)
    command.set_defaults(handler=handler)
    command.add_argument("--name", help="name of the worker (the host's name)")
    command.add_argument("--state-dir", help="state folder of the worker, if it was given to edge-worker run")
    command.add_argument("--pid", type=Path, help="PID file; refuse if the worker is another process")
    return command


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--output", choices=FORMATS, default="table", help="format of the status (table)")


def _add_wait(command: argparse.ArgumentParser, until: str) -> None:
    command.add_argument("-w", "--wait", action="store_true", help=f"wait {until}")
    command.add_argument("--timeout", type=_seconds, help="most seconds to wait (no limit)")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def _status(settings: WorkerSettings, arguments: dict[str, Any]) -> None:
    status = _call(settings, arguments, Request(command="status"))
    print(render(status, arguments["output"]))  # noqa: T201 - the command's answer


def _maintenance(settings: WorkerSettings, arguments: dict[str, Any]) -> None:
    on = arguments["maintenance"] == "on"
    comment = _comment(arguments["comments"]) if on else None
    _check_pid(settings, arguments)
    status = _call(settings, arguments, Request(command="maintenance", on=on, comment=comment, wait=arguments["wait"]))
    if not status.maintenance_stored and not status.connected:
        _say("the edge API is not reachable now; the request is sent as soon as it is")
    elif not arguments["wait"] and on and status.job_count:
        _say(f"the worker takes no more jobs; {_tasks(status)} still running")
    print(render(status, arguments["output"]))  # noqa: T201 - the command's answer


def _stop(settings: WorkerSettings, arguments: dict[str, Any]) -> None:
    _check_pid(settings, arguments)
    status = _call(settings, arguments, Request(command="stop", wait=arguments["wait"]))
    if arguments["wait"]:
        print(f"{status.name} has stopped")  # noqa: T201 - the command's answer
    else:
        print(f"{status.name} is stopping; {_tasks(status)} still running")  # noqa: T201 - the command's answer


def _comment(text: str | None) -> str:
    comment = (text or "").strip()
    if not comment:
        raise ConfigError("maintenance needs a comment; give the reason with --comments")
    if len(comment) > COMMENT_MAX:
        raise ConfigError(f"the comment has {len(comment):,} characters; at most {COMMENT_MAX:,} are allowed")
    return comment


def _call(settings: WorkerSettings, arguments: dict[str, Any], request: Request) -> WorkerStatus:
    answer = call(settings.state_folder, request, timeout_s=arguments.get("timeout"), on_news=_on_news)
    status = answer.status
    if status is None:
        raise NotRunningError(f"the edge worker refuses the command: {answer.problem}")
    if request.command == "status":
        _check(status, arguments)
    elif request.command == "maintenance" and request.wait and not answer.final:
        raise NotReachedError("the worker has stopped in the meantime; the request is kept for its next start")
    return status


def _check_pid(settings: WorkerSettings, arguments: dict[str, Any]) -> None:
    """Check, before anything is changed, that the worker is the process in the PID file."""
    if arguments["pid"] is not None:
        _call(settings, arguments, Request(command="status"))


def _check(status: WorkerStatus, arguments: dict[str, Any]) -> None:
    file: Path | None = arguments["pid"]
    if file is None:
        return
    try:
        pid = int(file.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError) as error:
        raise NotRunningError(f"PID file {file} cannot be read; is the worker running?") from error
    if pid != status.pid:
        raise NotRunningError(
            f"the worker that answers is process {status.pid}, not {pid} as in {file}; choose another with --name "
            "or --state-dir"
        )


def _on_news(status: WorkerStatus) -> None:
    away = "" if status.connected else ", the edge API is not reachable"
    _say(f"waiting: {status.state}, {_tasks(status)} running{away}")


def _tasks(status: WorkerStatus) -> str:
    return "1 task" if status.job_count == 1 else f"{status.job_count} tasks"


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - for people; the answer goes to stdout


def render(status: WorkerStatus, output: str) -> str:
    """Return the status in a format; `table` and `plain` omit the list of jobs."""
    values = status.model_dump(mode="json")
    if output == "json":
        return json.dumps(values, indent=4)
    if output == "yaml":
        # JSON values are YAML, too.
        return "\n".join(f"{key}: {json.dumps(value)}" for key, value in values.items())
    rows = {key: _cell(value) for key, value in values.items() if key != "jobs"}
    if output == "plain":
        return "\n".join(f"{key}\t{value}" for key, value in rows.items())
    width = max(map(len, rows))
    return "\n".join(f"{key:{width}} | {value}".rstrip() for key, value in rows.items())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
