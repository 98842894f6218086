"""`edge-api worker`: workers."""

import argparse
import sys

from edge_api.cli.database import UnknownError, record, transaction
from edge_api.settings import ApiSettings
from edge_store.database.statement import first, rows
from edge_store.identity import credentials


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `worker revoke`."""
    worker = commands.add_parser("worker", help="workers").add_subparsers(required=True, metavar="COMMAND")
    revoke = worker.add_parser("revoke", help="revoke all credentials of a worker; its session ends at once")
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(run=_revoke)


def _revoke(settings: ApiSettings, options: argparse.Namespace) -> None:
    with transaction(settings) as connection:
        if first(connection, credentials.credentials(1, worker=options.name)) is None:
            raise UnknownError(f"No worker {options.name} has ever enrolled. See: edge-api credential list.")
        revoked = rows(connection, credentials.revoke_of_worker(options.name))
        if revoked:
            record(connection, "credential.revoke", f"worker/{options.name}", {"credentials": len(revoked)})
    sys.stdout.write(f"credentials of worker {options.name} revoked: {len(revoked)}\n")
