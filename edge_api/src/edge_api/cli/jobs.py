"""`edge-api jobs`: why a job is not starting."""

import argparse
import sys
from datetime import UTC, datetime, timedelta

from edge_api.cli import arguments
from edge_api.cli.database import ALL, UnknownError, transaction
from edge_api.cli.output import add_output_option, write_data
from edge_api.fleet.explain import explain
from edge_api.fleet.views import job_view, worker_view
from edge_api.settings import ApiSettings
from edge_protocol.admin import Explanation
from edge_store.database.statement import first, rows
from edge_store.jobs import job_views
from edge_store.workers import worker_views


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `jobs explain`."""
    jobs = commands.add_parser("jobs", help="jobs").add_subparsers(required=True, metavar="COMMAND")
    why = jobs.add_parser("explain", help="explain why a job is not starting")
    why.add_argument("id", type=arguments.identifier, metavar="ID", help="id of the job")
    add_output_option(why)
    why.set_defaults(run=_explain)


def _explain(settings: ApiSettings, options: argparse.Namespace) -> None:
    interval = timedelta(seconds=settings.heartbeat_interval_s)
    with transaction(settings) as connection:
        job = first(connection, job_views.one_job(options.id))
        if job is None:
            raise UnknownError(f"There is no job {options.id}. Finished jobs are kept only for a while.")
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
