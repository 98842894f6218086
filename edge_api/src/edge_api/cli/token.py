"""`edge-api token`: join tokens, with which workers enrol."""

import argparse
import sys
from datetime import UTC, datetime, timedelta

from edge_api.cli import arguments
from edge_api.cli.database import ALL, UnknownError, record, transaction
from edge_api.cli.output import add_output_option, write
from edge_api.identity import tokens
from edge_api.settings import ApiSettings
from edge_protocol.admin import TokenView
from edge_store.database.statement import first, rows, run
from edge_store.identity import credentials


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `token create`, `list` and `revoke`."""
    token = commands.add_parser("token", help="join tokens").add_subparsers(required=True, metavar="COMMAND")
    create = token.add_parser("create", help="create a join token and print it; it is shown only now")
    create.add_argument("--name-pattern", default="*", metavar="GLOB", help="names that workers may enrol under")
    create.add_argument("--queues", type=arguments.queues, metavar="A,B", help="queues it grants; default: any")
    create.add_argument("--team", help="team of the workers")
    arguments.add_allowed_names(create, "may be used by tasks")
    create.add_argument(
        "--expires", type=arguments.duration, default=timedelta(hours=24), metavar="24h", help="s, m, h or d"
    )
    create.add_argument("--uses", type=arguments.positive, metavar="N", help="number of enrolments; default: unlimited")
    create.set_defaults(run=_create)
    listing = token.add_parser("list", help="list join tokens, the newest first, without their secrets")
    add_output_option(listing)
    listing.set_defaults(run=_list)
    revoke = token.add_parser("revoke", help="revoke a join token")
    revoke.add_argument("id", type=arguments.identifier, metavar="ID", help="id of the token")
    revoke.set_defaults(run=_revoke)


def _create(settings: ApiSettings, options: argparse.Namespace) -> None:
    token = tokens.mint(tokens.JOIN_TOKEN)
    new = credentials.NewJoinToken(
        id=token.id,
        secret_hash=token.digest,
        worker_pattern=options.name_pattern,
        queues=options.queues,
        team=options.team,
        uses_left=options.uses,
        expires_at=datetime.now(UTC) + options.expires,
        connections=options.connections,
        variables=options.variables,
    )
    with transaction(settings) as connection:
        run(connection, credentials.add_join_token(new))
        detail = {
            "worker_pattern": new.worker_pattern,
            "queues": options.queues,
            "team": new.team,
            "connections": options.connections,
            "variables": options.variables,
            "uses": new.uses_left,
        }
        record(connection, "token.create", f"token/{token.id}", detail)
    sys.stdout.write(f"{token.text}\n")


def _list(settings: ApiSettings, options: argparse.Namespace) -> None:
    with transaction(settings) as connection:
        found = rows(connection, credentials.join_tokens(ALL))
    items = [TokenView.model_validate(row, from_attributes=True) for row in found]
    bounds = ("worker_pattern", "queues", "team", "connections", "variables")
    write(items, ("id", *bounds, "uses_left", "expires_at", "revoked_at"), options.output)


def _revoke(settings: ApiSettings, options: argparse.Namespace) -> None:
    with transaction(settings) as connection:
        if first(connection, credentials.revoke_join_token(options.id)) is None:
            raise UnknownError(f"There is no join token {options.id}. See: edge-api token list.")
        record(connection, "token.revoke", f"token/{options.id}")
    sys.stdout.write(f"join token {options.id} revoked\n")
