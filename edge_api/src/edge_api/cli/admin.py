"""Commands on tokens, credentials and jobs that work on the database directly.

They need no running edge API and no credential: whoever has the database URL has everything anyway. The first
credential for the admin API is made here.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

from edge_api.admin.identity import credential_view, new_credential
from edge_api.cli.output import add_output_option, write, write_data
from edge_api.errors import EdgeApiError
from edge_api.fleet.explain import explain
from edge_api.fleet.views import job_view, worker_view
from edge_api.identity import tokens
from edge_api.settings import ApiSettings
from edge_protocol.admin import LABEL_MAX, TEAM_MAX, CredentialRequest, Explanation, TokenView
from edge_protocol.limits import QueueName, WorkerPattern
from edge_store.database import engine
from edge_store.database.statement import first, rows, run
from edge_store.identity import audit, credentials
from edge_store.jobs import job_views
from edge_store.schema import migrate
from edge_store.workers import worker_views

ACTOR: Final = "command line"
"""How the audit trail names whoever has the database."""

ALL: Final = 1_000_000

Run = Callable[[ApiSettings, argparse.Namespace], None]


class UnknownError(EdgeApiError):
    """What a command names is not there."""


@contextmanager
def database(settings: ApiSettings) -> Iterator[Connection]:
    """Open a transaction on a database whose schema is right.

    Raises:
        StoreError: it is not; the message says what mends it.

    """
    with engine.connect(engine.make_engine(settings.database_url.get_secret_value())) as connection:
        migrate.check(connection)
        yield connection
        connection.commit()


def add_token_commands(token: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `token list` and `token revoke`."""
    listing = token.add_parser("list", help="list join tokens, the newest first, without their secrets")
    add_output_option(listing)
    listing.set_defaults(run=_list_tokens)
    _by_id(token.add_parser("revoke", help="revoke a join token"), "token", _revoke_token)


def add_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", duration: Callable[[str], timedelta]
) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
    """Add `credential …`, `worker …` and `jobs …`; returns the commands of `credential`, to which more are added."""
    credential = commands.add_parser("credential", help="credentials").add_subparsers(required=True, metavar="COMMAND")
    create = credential.add_parser("create", help="make a credential for the admin API and print it, this once")
    create.add_argument("--role", choices=("admin", "read"), required=True, help="admin: everything; read: GET only")
    create.add_argument("--label", type=label, default=ACTOR, help="who uses it: shown in lists and in the audit trail")
    create.add_argument("--expires", type=duration, default=timedelta(days=90), metavar="90d", help="s, m, h or d")
    create.add_argument(
        "--worker-pattern", type=_worker_pattern, metavar="GLOB", help="only these workers: a name, or 'PREFIX*'"
    )
    create.add_argument("--team", type=_team, help="only workers and jobs of this team")
    create.add_argument("--queues", type=queues, metavar="A,B", help="only these queues may be added and granted")
    create.set_defaults(run=_create_credential)
    listing = credential.add_parser("list", help="list credentials, the newest first, without their secrets")
    listing.add_argument("--worker", metavar="NAME", help="only those of a worker")
    add_output_option(listing)
    listing.set_defaults(run=_list_credentials)
    _by_id(credential.add_parser("revoke", help="revoke a credential"), "credential", _revoke_credential)

    worker = commands.add_parser("worker", help="workers").add_subparsers(required=True, metavar="COMMAND")
    revoke = worker.add_parser("revoke", help="revoke all credentials of a worker; its session ends at once")
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(run=_revoke_worker)

    jobs = commands.add_parser("jobs", help="jobs").add_subparsers(required=True, metavar="COMMAND")
    why = jobs.add_parser("explain", help="say why a job is not starting")
    add_output_option(why)
    _by_id(why, "job", _explain)
    return credential


def _by_id(parser: argparse.ArgumentParser, what: str, run: Run) -> None:
    parser.add_argument("id", type=_id, metavar="ID", help=f"id of the {what}")
    parser.set_defaults(run=run)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an id; give one like those of the list") from error


def _of_length(what: str, most: int) -> Callable[[str], str]:
    """Return a reader of texts that are neither empty nor too long."""

    def read(text: str) -> str:
        if not 1 <= len(text) <= most:
            raise argparse.ArgumentTypeError(f"{what} has 1 to {most} characters")
        return text

    return read


label: Final = _of_length("a label", LABEL_MAX)
_team: Final = _of_length("the name of a team", TEAM_MAX)


def queues(text: str) -> list[str]:
    """Read names of queues."""
    try:
        return TypeAdapter(list[QueueName]).validate_python([name.strip() for name in text.split(",")])
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"a queue name is not good: {error.errors()[0]['msg']}") from error


def _worker_pattern(text: str) -> str:
    try:
        return TypeAdapter(WorkerPattern).validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no pattern of a scope; give a worker's name, or the start of names and a star, like 'plant-*'"
        ) from error


def record(connection: Connection, action: str, object_: str, detail: dict[str, Any] | None = None) -> None:
    """Write an entry of the audit trail."""
    run(connection, audit.add([audit.NewAudit(ACTOR, action, object_, detail or {})]))


def _list_tokens(settings: ApiSettings, options: argparse.Namespace) -> None:
    with database(settings) as connection:
        found = rows(connection, credentials.join_tokens(ALL))
    items = [TokenView.model_validate(row, from_attributes=True) for row in found]
    write(items, ("id", "worker_pattern", "queues", "team", "uses_left", "expires_at", "revoked_at"), options.output)


def _revoke_token(settings: ApiSettings, options: argparse.Namespace) -> None:
    with database(settings) as connection:
        if first(connection, credentials.revoke_join_token(options.id)) is None:
            raise UnknownError(f"There is no join token {options.id}. See: edge-api token list.")
        record(connection, "token.revoke", f"token/{options.id}")
    sys.stdout.write(f"join token {options.id} revoked\n")


def _create_credential(settings: ApiSettings, options: argparse.Namespace) -> None:
    token = tokens.mint(tokens.ADMIN)
    seconds = int(options.expires.total_seconds())
    request = CredentialRequest(
        role=options.role,
        label=options.label,
        expires_s=seconds,
        worker_pattern=options.worker_pattern,
        team=options.team,
        queues=options.queues,
    )
    with database(settings) as connection:
        run(connection, credentials.add_credential(new_credential(token, request)))
        record(connection, "credential.create", f"credential/{token.id}", request.model_dump(mode="json"))
    sys.stdout.write(f"{token.text}\n")


def _list_credentials(settings: ApiSettings, options: argparse.Namespace) -> None:
    with database(settings) as connection:
        found = rows(connection, credentials.credentials(ALL, worker=options.worker))
    bounds = ("worker", "worker_pattern", "team", "queues")
    columns = ("id", "role", "label", *bounds, "expires_at", "rotated_at", "revoked_at")
    write([credential_view(row) for row in found], columns, options.output)


def _revoke_credential(settings: ApiSettings, options: argparse.Namespace) -> None:
    with database(settings) as connection:
        if first(connection, credentials.one_credential(options.id)) is None:
            raise UnknownError(f"There is no credential {options.id}. See: edge-api credential list.")
        if rows(connection, credentials.revoke(options.id)):
            record(connection, "credential.revoke", f"credential/{options.id}")
    sys.stdout.write(f"credential {options.id} revoked\n")


def _revoke_worker(settings: ApiSettings, options: argparse.Namespace) -> None:
    with database(settings) as connection:
        if first(connection, credentials.credentials(1, worker=options.name)) is None:
            raise UnknownError(f"No worker {options.name} has ever enrolled. See: edge-api credential list.")
        revoked = rows(connection, credentials.revoke_of_worker(options.name))
        if revoked:
            record(connection, "credential.revoke", f"worker/{options.name}", {"credentials": len(revoked)})
    sys.stdout.write(f"credentials of worker {options.name} revoked: {len(revoked)}\n")


def _explain(settings: ApiSettings, options: argparse.Namespace) -> None:
    interval = timedelta(seconds=settings.heartbeat_interval_s)
    with database(settings) as connection:
        job = first(connection, job_views.one_job(options.id))
        if job is None:
            raise UnknownError(f"There is no job {options.id}. Finished jobs are kept for a while only.")
        workers = [worker_view(row, interval) for row in rows(connection, worker_views.workers("", ALL))]
    explanation = explain(job_view(job), workers, datetime.now(UTC))
    if options.output in ("json", "yaml"):
        write_data(explanation.model_dump(mode="json"), options.output)
    else:
        _write_explanation(explanation)


def _write_explanation(explanation: Explanation) -> None:
    sys.stdout.write(f"{explanation.verdict}: {explanation.message}\n")
    for worker in explanation.workers:
        why = " ".join(reason.message for reason in worker.reasons) or "could run it"
        sys.stdout.write(f"  {worker.name}: {why}\n")
