"""`edge-api serve`: run the service."""

import argparse
import asyncio
import logging
import sys
import time
from typing import Final

from edge_api.cli.database import check_for_service
from edge_api.settings import ApiSettings
from edge_protocol.json_logs import JsonLines
from edge_store.errors import UnreachableDatabaseError

LOOK_S: Final = 1.0
"""Seconds between two looks at a database that is away."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `serve`."""
    serve = commands.add_parser("serve", help="run the service")
    serve.add_argument("--host", help="address to listen on (EDGE_API_HOST)")
    serve.add_argument("--port", type=int, help="TCP port; 0 picks a free one (EDGE_API_PORT)")
    serve.set_defaults(run=_serve)


def _serve(settings: ApiSettings, _: argparse.Namespace) -> None:
    # Only the service needs the web framework; the other commands start in half the time without it.
    import uvloop  # noqa: PLC0415

    from edge_api.server import check_tls, listen, serve  # noqa: PLC0415

    check_tls(settings)
    _wait_for_database(settings)
    _log_json_lines()
    with listen(settings) as listeners, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, listeners))


def _wait_for_database(settings: ApiSettings) -> None:
    """Check the database. One that is away is waited for: it may be away for as long as a failover takes."""
    printed = ""
    while True:
        try:
            check_for_service(settings)
        except UnreachableDatabaseError as error:
            if str(error) != printed:
                printed = str(error)
                sys.stderr.write(f"edge-api: waiting: {printed}\n")
            time.sleep(LOOK_S)
        else:
            return


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
