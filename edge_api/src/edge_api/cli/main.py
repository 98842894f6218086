"""Command line `edge-api`."""

import argparse
import asyncio
import logging
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy.exc import DBAPIError

from edge_api.cli import admin as cli_admin
from edge_api.cli import install as cli_install
from edge_api.errors import EdgeApiError
from edge_api.identity import tokens
from edge_api.settings import ApiSettings
from edge_protocol.json_logs import JsonLines
from edge_store.database import engine
from edge_store.database.statement import run
from edge_store.errors import StoreError
from edge_store.identity import credentials
from edge_store.schema import migrate

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 2 for what the caller can mend, told in one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(_settings(options), options) or 0)
    except (StoreError, EdgeApiError) as error:
        return _fail(str(error))
    except (ValidationError, SettingsError) as error:
        return _fail(_about_settings(error))
    except DBAPIError as error:
        return _fail(f"The database refuses: {str(error.orig).splitlines()[0]}")


def _fail(message: str) -> int:
    sys.stderr.write(f"edge-api: {message}\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-api", description="The service that edge workers call. Settings: EDGE_API_… environment variables."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("serve", help="run the service")
    run.add_argument("--host", help="address to listen on (EDGE_API_HOST)")
    run.add_argument("--port", type=int, help="TCP port; 0 takes a free one (EDGE_API_PORT)")
    run.set_defaults(run=_serve)

    database = commands.add_parser("db", help="the database schema").add_subparsers(required=True, metavar="COMMAND")
    database.add_parser("upgrade", help="bring the schema to this version").set_defaults(run=_upgrade)
    database.add_parser("check", help="check that the schema is of this version").set_defaults(run=_check)

    token = commands.add_parser("token", help="join tokens").add_subparsers(required=True, metavar="COMMAND")
    create = token.add_parser("create", help="make a join token and print it, the only time that it is shown")
    create.add_argument("--name-pattern", default="*", metavar="GLOB", help="worker names it is good for")
    create.add_argument("--queues", type=cli_admin.queues, metavar="A,B", help="queues it grants; default: any")
    create.add_argument("--team", help="team of the workers")
    create.add_argument("--expires", type=_duration, default=timedelta(hours=24), metavar="24h", help="s, m, h or d")
    create.add_argument("--uses", type=_positive, metavar="N", help="how often it can be used; default: any number")
    create.set_defaults(run=_create_token)
    cli_admin.add_token_commands(token)
    credential = cli_admin.add_commands(commands, _duration)
    cli_install.add_commands(database, credential, _duration)
    return parser


def _settings(options: argparse.Namespace) -> ApiSettings:
    given = {name: getattr(options, name, None) for name in ("host", "port")}
    overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return ApiSettings(**overrides)


def _about_settings(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):
        return f"{error}. Mend the environment variable."
    first = error.errors(include_url=False, include_input=False)[0]
    name = "EDGE_API_" + "_".join(str(part) for part in first["loc"]).upper()
    if first["type"] == "missing":
        return f"{name} is not set. Set it, for example to postgresql://user:password@host:5432/airflow."
    return f"{name} is not good: {first['msg']}."


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; give one like 30m, 24h or 7d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of uses; give 1 or more")
    return int(text)


def _serve(settings: ApiSettings, _: argparse.Namespace) -> None:
    with engine.connect(engine.make_engine(settings.database_url.get_secret_value())) as connection:
        migrate.check(connection)
    # Only the service needs the web framework; the other commands start in half the time without it.
    import uvloop  # noqa: PLC0415

    from edge_api.server import check_tls, listen, serve  # noqa: PLC0415

    check_tls(settings)
    _log_json_lines()
    with listen(settings) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, listener))


def _log_json_lines() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # One line per connection adds nothing to the session's own lines.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    # Each look at the schema's version, as at each readiness probe, would be two lines.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _upgrade(settings: ApiSettings, _: argparse.Namespace) -> None:
    with engine.connect(engine.make_engine(settings.database_url.get_secret_value())) as connection:
        before = migrate.current_revision(connection)
        migrate.upgrade(connection)
        connection.commit()
    sys.stdout.write(f"schema version {before or 'none'} -> {migrate.head_revision()}\n")


def _check(settings: ApiSettings, _: argparse.Namespace) -> None:
    with engine.connect(engine.make_engine(settings.database_url.get_secret_value())) as connection:
        migrate.check(connection)
    sys.stdout.write(f"schema version {migrate.head_revision()}\n")


def _create_token(settings: ApiSettings, options: argparse.Namespace) -> None:
    token = tokens.mint(tokens.JOIN_TOKEN)
    new = credentials.NewJoinToken(
        id=token.id,
        secret_hash=token.digest,
        worker_pattern=options.name_pattern,
        queues=options.queues,
        team=options.team,
        uses_left=options.uses,
        expires_at=datetime.now(UTC) + options.expires,
    )
    with cli_admin.database(settings) as connection:
        run(connection, credentials.add_join_token(new))
        detail = {
            "worker_pattern": new.worker_pattern,
            "queues": options.queues,
            "team": new.team,
            "uses": new.uses_left,
        }
        cli_admin.record(connection, "token.create", f"token/{token.id}", detail)
    sys.stdout.write(f"{token.text}\n")
