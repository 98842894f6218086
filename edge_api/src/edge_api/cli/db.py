"""`edge-api db`: the database schema, and the rights on it. An installation runs these at each start or upgrade."""

import argparse
import os
import sys
import time
from datetime import timedelta
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from edge_api.cli.arguments import duration
from edge_api.cli.database import check_for_service, connected, transaction
from edge_api.errors import EdgeApiError
from edge_api.settings import ApiSettings
from edge_store.database import engine
from edge_store.errors import SchemaMismatchError, UnreachableDatabaseError
from edge_store.schema import migrate, roles

ROLE_URL: Final = "EDGE_API_ROLE_URL"
LOOK_S: Final = 1.0
"""Seconds between two looks at a database that is not ready."""


class DatabaseSetupError(EdgeApiError):
    """The database can't be set up."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `db upgrade`, `check`, `wait` and `grant-role`."""
    database = commands.add_parser("db", help="the database schema").add_subparsers(required=True, metavar="COMMAND")
    database.add_parser("upgrade", help="bring the schema to this version").set_defaults(run=_upgrade)
    database.add_parser(
        "check", help="check that the service can use the database, with the schema of this version"
    ).set_defaults(run=_check)
    wait = database.add_parser("wait", help="wait until the database can be used with the schema of this version")
    wait.add_argument("--server", action="store_true", help="wait for the server only, not for the schema")
    wait.add_argument("--timeout", type=duration, default=timedelta(minutes=10), metavar="10m", help="s, m, h or d")
    wait.set_defaults(run=_wait)
    grant = database.add_parser("grant-role", help=f"give the user of the URL in {ROLE_URL} the rights on the schema")
    grant.set_defaults(run=_grant_role)


def _upgrade(settings: ApiSettings, _: argparse.Namespace) -> None:
    with connected(settings) as connection:
        before = migrate.current_revision(connection)
        migrate.upgrade(connection)
        connection.commit()
    sys.stdout.write(f"schema version {before or 'none'} -> {migrate.head_revision()}\n")


def _check(settings: ApiSettings, _: argparse.Namespace) -> None:
    check_for_service(settings)
    sys.stdout.write(f"schema version {migrate.head_revision()}\n")


def _wait(settings: ApiSettings, options: argparse.Namespace) -> None:
    """Look again and again; a problem is printed once, and again when it changes."""
    database = engine.make_engine(settings.database_url.get_secret_value())
    end = time.monotonic() + options.timeout.total_seconds()
    printed = ""
    while problem := _problem(database, with_schema=not options.server):
        if time.monotonic() > end:
            raise DatabaseSetupError(f"Gave up waiting: {problem}")
        if problem != printed:
            sys.stderr.write(f"edge-api: waiting: {problem}\n")
            printed = problem
        time.sleep(LOOK_S)


def _problem(database: Engine, *, with_schema: bool) -> str | None:
    try:
        with engine.connect(database) as connection:
            if with_schema:
                migrate.check(connection)
    except (UnreachableDatabaseError, SchemaMismatchError) as error:
        return str(error)
    except DBAPIError as error:
        # For example a role that has no rights yet.
        return str(error.orig).splitlines()[0]
    return None


def _grant_role(settings: ApiSettings, _: argparse.Namespace) -> None:
    url = os.environ.get(ROLE_URL)
    if not url:
        raise DatabaseSetupError(f"{ROLE_URL} is not set. Set it to the database URL of the edge API.")
    with transaction(settings) as connection:
        roles.grant_role(connection, url)
    sys.stdout.write(f"role {engine.database_url(url).username} has the schema edge\n")
