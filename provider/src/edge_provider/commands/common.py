"""How all commands fail: one line on stderr and an exit code."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

from airflow.utils.providers_configuration_loader import providers_configuration_loaded


class CommandError(Exception):
    """The command was refused, or the edge API did not answer."""

    exit_code: ClassVar[int] = 1


class UsageError(CommandError):
    """An argument or a setting is wrong."""

    exit_code = 2


def command(function: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wrap the body of a command: this provider's configuration is loaded, and errors become one line on stderr."""
    configured = providers_configuration_loaded(function)

    @wraps(function)
    def run(args: Any) -> None:
        try:
            configured(args)
        except CommandError as error:
            print(f"airflow edge: {error}", file=sys.stderr)  # noqa: T201 - the command's answer
            raise SystemExit(error.exit_code) from error

    return run
