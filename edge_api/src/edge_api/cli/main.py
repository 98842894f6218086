"""The command line `edge-api`: its nouns, and how errors are shown."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy.exc import DBAPIError

from edge_api.cli import credential, db, jobs, serve, token, worker
from edge_api.errors import EdgeApiError
from edge_api.settings import ApiSettings
from edge_store.errors import StoreError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 2 for what the caller can fix, shown in one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(_settings(options), options) or 0)
    except (StoreError, EdgeApiError) as error:
        return _fail(str(error))
    except (ValidationError, SettingsError) as error:
        return _fail(_about_settings(error))
    except DBAPIError as error:
        return _fail(f"The database refuses: {str(error.orig).splitlines()[0]}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-api",
        description="The service that edge workers connect to. Settings: EDGE_API_… environment variables.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for noun in (serve, db, token, credential, worker, jobs):
        noun.add_commands(commands)
    return parser


def _settings(options: argparse.Namespace) -> ApiSettings:
    given = {name: getattr(options, name, None) for name in ("host", "port")}
    overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return ApiSettings(**overrides)


def _about_settings(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):
        return f"{error}. Fix the environment variable."
    first = error.errors(include_url=False, include_input=False)[0]
    name = "EDGE_API_" + "_".join(str(part) for part in first["loc"]).upper()
    if first["type"] == "missing":
        return f"{name} is not set. Set it, for example to postgresql://user:password@host:5432/airflow."
    return f"Invalid {name}: {first['msg']}."


def _fail(message: str) -> int:
    sys.stderr.write(f"edge-api: {message}\n")
    return 2
