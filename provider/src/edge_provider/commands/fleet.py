"""Commands on any worker of the fleet, through the admin API."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from getpass import getuser
from typing import Any

from airflow.cli.simple_table import AirflowConsole

from edge_protocol.admin import BulkAction, BulkRequest, WorkerFilter, WorkerView
from edge_protocol.limits import COMMENT_MAX, CONCURRENCY_MAX, QUEUE_NAME_MAX
from edge_protocol.worker_state import GONE_STATES, WorkerState
from edge_provider.commands.admin_client import AdminClient
from edge_provider.commands.common import CommandError, UsageError, command

_STOPPED_OR_STOPPING = GONE_STATES | {WorkerState.TERMINATING}


@command
def list_workers(args: Namespace) -> None:
    """List the workers."""
    selection = WorkerFilter(
        state=parse_states(args.state),
        queue=parse_queues(args.queues) if args.queues is not None else None,
        name=args.worker_name_pattern or None,
    )
    with AdminClient.from_config() as client:
        found = client.workers(selection)
    AirflowConsole().print_as(data=[row(worker) for worker in found], output=args.output)


@command
def request_maintenance(args: Namespace) -> None:
    """Put a worker into maintenance."""
    comment = parse_comment(args.comments)
    with AdminClient.from_config() as client:
        client.request_maintenance(args.edge_hostname, comment)
    _say(f"{args.edge_hostname} has been put on maintenance by {getuser()}.")


@command
def update_maintenance_comment(args: Namespace) -> None:
    """Change the comment of a maintenance."""
    comment = parse_comment(args.comments)
    with AdminClient.from_config() as client:
        worker = client.worker(args.edge_hostname)
        if worker.maintenance is None:
            raise CommandError(
                f"Worker {worker.name} is {worker.state} and not in maintenance; "
                "request it with remote-edge-worker-request-maintenance"
            )
        client.request_maintenance(args.edge_hostname, comment)
    _say(f"Maintenance comments updated for {args.edge_hostname} by {getuser()}.")


@command
def exit_maintenance(args: Namespace) -> None:
    """End a worker's maintenance."""
    with AdminClient.from_config() as client:
        client.exit_maintenance(args.edge_hostname)
    _say(f"{args.edge_hostname} has been removed from maintenance by {getuser()}.")


@command
def shutdown_worker(args: Namespace) -> None:
    """Stop a worker once its tasks have ended."""
    with AdminClient.from_config() as client:
        client.shutdown(args.edge_hostname)
    _say(f"Requested shutdown of Edge Worker host {args.edge_hostname} by {getuser()}.")


@command
def shutdown_all_workers(args: Namespace) -> None:
    """Stop all workers once their tasks have ended."""
    if not args.yes and not _confirmed("This shuts all edge workers down. Proceed? (y/n) "):
        raise CommandError("cancelled; nothing was changed")
    living = [state for state in WorkerState if state not in _STOPPED_OR_STOPPING]
    with AdminClient.from_config() as client:
        results = client.bulk(BulkRequest(action=BulkAction.SHUTDOWN, filter=WorkerFilter(state=living)))
    done = [result.name for result in results if result.ok]
    for name in done:
        _say(f"Requested shutdown of Edge Worker host {name}.")
    if len(done) < len(results):
        first = next(result for result in results if not result.ok)
        raise CommandError(f"{len(results) - len(done)} of {len(results)} workers refused: {first.detail}")
    _say(f"Requested shutdown of {len(done)} edge workers by {getuser()}." if done else "No edge workers to shut down.")


@command
def remove_worker(args: Namespace) -> None:
    """Remove a worker that is offline or lost."""
    with AdminClient.from_config() as client:
        client.remove(args.edge_hostname)
    _say(f"Edge Worker host {args.edge_hostname} removed by {getuser()}.")


@command
def add_worker_queues(args: Namespace) -> None:
    """Have a worker serve more queues."""
    queues = parse_queues(args.queues)
    with AdminClient.from_config() as client:
        client.adjust(args.edge_hostname, add_queues=queues)
    _say(f"Added queues {queues} to Edge Worker host {args.edge_hostname} by {getuser()}.")


@command
def remove_worker_queues(args: Namespace) -> None:
    """Have a worker serve fewer queues."""
    queues = parse_queues(args.queues)
    with AdminClient.from_config() as client:
        client.adjust(args.edge_hostname, remove_queues=queues)
    _say(f"Removed queues {queues} from Edge Worker host {args.edge_hostname} by {getuser()}.")


@command
def set_worker_concurrency(args: Namespace) -> None:
    """Change a worker's slots."""
    if not 1 <= args.concurrency <= CONCURRENCY_MAX:
        raise UsageError(f"concurrency {args.concurrency} is not from 1 to {CONCURRENCY_MAX}")
    with AdminClient.from_config() as client:
        client.adjust(args.edge_hostname, concurrency=args.concurrency)
    _say(f"Concurrency set to {args.concurrency} for Edge Worker host {args.edge_hostname} by {getuser()}.")


def row(worker: WorkerView) -> dict[str, Any]:
    """Return a worker as a row of the list; the first columns are those of Airflow's own edge provider."""
    return {
        "worker_name": worker.name,
        "state": worker.state.value,
        "queues": worker.queues,
        "jobs_active": worker.jobs_active,
        "maintenance_comment": worker.maintenance.comment if worker.maintenance else None,
        "concurrency": worker.concurrency,
        "free_concurrency": worker.slots_free,
        "team": worker.team,
        "cordon": "; ".join(reason.message for reason in worker.cordon.reasons) or None,
    }


def parse_states(names: Sequence[str] | None) -> list[WorkerState] | None:
    """Return states by their names; underscores may replace blanks.

    Raises:
        UsageError: A name is not that of a state.

    """
    if not names:
        return None
    known = {state.value: state for state in WorkerState}
    for name in names:
        if name.replace("_", " ") not in known:
            raise UsageError(f"there is no worker state {name[:100]!r}; there are: {', '.join(known)}")
    return [known[name.replace("_", " ")] for name in names]


def parse_queues(text: str) -> list[str]:
    """Return the queues of a comma-separated list.

    Raises:
        UsageError: The list is empty, or a name is too long.

    """
    queues = [name.strip() for name in text.split(",") if name.strip()]
    if not queues:
        raise UsageError("no queue is named; give --queues with names separated by commas")
    for name in queues:
        if len(name) > QUEUE_NAME_MAX:
            raise UsageError(f"queue name {name[:20]}… has {len(name)} characters; the maximum is {QUEUE_NAME_MAX}")
    return queues


def parse_comment(text: str) -> str:
    """Return a maintenance comment.

    Raises:
        UsageError: It is empty or too long.

    """
    comment = text.strip()
    if not comment:
        raise UsageError("maintenance needs a comment; give the reason with --comments")
    if len(comment) > COMMENT_MAX:
        raise UsageError(f"the comment has {len(comment):,} characters; the maximum is {COMMENT_MAX:,}")
    return comment


def _confirmed(question: str) -> bool:
    try:
        return input(question).strip().upper() == "Y"
    except EOFError:
        return False


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
