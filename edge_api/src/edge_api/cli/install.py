"""Commands that an installation runs at each start or upgrade: each makes sure of something, and can be repeated."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from edge_api.admin.identity import new_credential
from edge_api.cli import admin as cli_admin
from edge_api.errors import EdgeApiError
from edge_api.identity import tokens
from edge_api.settings import ApiSettings
from edge_protocol.admin import CredentialRequest
from edge_store.database import engine
from edge_store.database.statement import first, run
from edge_store.errors import SchemaMismatchError, UnreachableDatabaseError
from edge_store.identity import credentials
from edge_store.schema import migrate, roles

ROLE_URL: Final = "EDGE_API_ROLE_URL"
LOOK_S: Final = 1.0
"""Seconds between two looks at a database that is not ready."""


class InstallError(EdgeApiError):
    """Something can't be made sure of."""


def add_commands(
    database: "argparse._SubParsersAction[argparse.ArgumentParser]",
    credential: "argparse._SubParsersAction[argparse.ArgumentParser]",
    duration: Callable[[str], timedelta],
) -> None:
    """Add `db wait`, `db grant-role` and `credential ensure`."""
    wait = database.add_parser("wait", help="wait until the database can be used with the schema of this version")
    wait.add_argument("--server", action="store_true", help="wait for the server only, not for the schema")
    wait.add_argument("--timeout", type=duration, default=timedelta(minutes=10), metavar="10m", help="s, m, h or d")
    wait.set_defaults(run=_wait)
    grant = database.add_parser("grant-role", help=f"give the user of the URL in {ROLE_URL} the rights on the schema")
    grant.set_defaults(run=_grant_role)
    ensure = credential.add_parser("ensure", help="make sure that the admin credential in a file is good")
    ensure.add_argument("--secret-file", type=Path, required=True, metavar="FILE", help="edgea_ID_SECRET, made by you")
    ensure.add_argument("--role", choices=("admin", "read"), required=True, help="admin: everything; read: GET only")
    ensure.add_argument("--label", type=cli_admin.label, required=True, help="who uses it")
    ensure.add_argument("--expires", type=duration, default=timedelta(days=90), metavar="90d", help="s, m, h or d")
    ensure.set_defaults(run=_ensure_credential)


def _wait(settings: ApiSettings, options: argparse.Namespace) -> None:
    """Look again and again; what is missing is told once, and again when it changes."""
    database = engine.make_engine(settings.database_url.get_secret_value())
    end = time.monotonic() + options.timeout.total_seconds()
    told = ""
    while trouble := _trouble(database, with_schema=not options.server):
        if time.monotonic() > end:
            raise InstallError(f"Gave up waiting: {trouble}")
        if trouble != told:
            sys.stderr.write(f"edge-api: waiting: {trouble}\n")
            told = trouble
        time.sleep(LOOK_S)


def _trouble(database: Engine, *, with_schema: bool) -> str | None:
    try:
        with engine.connect(database) as connection:
            if with_schema:
                migrate.check(connection)
    except (UnreachableDatabaseError, SchemaMismatchError) as error:
        return str(error)
    except DBAPIError as error:
        # For example a role whose rights are not there yet.
        return str(error.orig).splitlines()[0]
    return None


def _grant_role(settings: ApiSettings, _: argparse.Namespace) -> None:
    url = os.environ.get(ROLE_URL)
    if not url:
        raise InstallError(f"{ROLE_URL} is not set. Set it to the URL that the edge API is to use.")
    with cli_admin.database(settings) as connection:
        roles.grant_role(connection, url)
    sys.stdout.write(f"role {engine.database_url(url).username} has the schema edge\n")


def _ensure_credential(settings: ApiSettings, options: argparse.Namespace) -> None:
    token = _read_token(options.secret_file)
    seconds = int(options.expires.total_seconds())
    request = CredentialRequest(role=options.role, label=options.label, expires_s=seconds)
    with cli_admin.database(settings) as connection:
        row = first(connection, credentials.get_credential(token.id))
        if row is None:
            _add_credential(connection, token, request)
        else:
            _check_credential(connection, row, token, options.role)
    sys.stdout.write(f"credential {token.id} is {'good' if row else 'made'}\n")


def _read_token(file: Path) -> tokens.Token:
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InstallError(f"The credential's file {file} can't be read. Name a readable file.") from error
    token = tokens.parse(text, tokens.ADMIN)
    if token is None:
        raise InstallError(
            f"The file {file} holds no credential. It is edgea_ID_SECRET: 32 hexadecimal digits and at least 43 random "
            "letters or digits."
        )
    return token


def _add_credential(connection: Connection, token: tokens.Token, request: CredentialRequest) -> None:
    run(connection, credentials.add_credential(new_credential(token, request)))
    detail = request.model_dump(mode="json")
    cli_admin.record(connection, "credential.create", f"credential/{token.id}", detail)


def _check_credential(
    connection: Connection, row: credentials.CredentialSecret, token: tokens.Token, role: str
) -> None:
    if not token.matches(row.secret_hash) or row.role != role:
        raise InstallError(f"There is another credential {token.id}. Put a new one into the file.")
    if first(connection, credentials.still_valid([token.id])) is None:
        raise InstallError(f"The credential {token.id} is revoked or expired. Put a new one into the file.")
