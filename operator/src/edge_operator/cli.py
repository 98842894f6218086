"""`edge-operator run`."""

import argparse
import asyncio
import json
import logging
import sys
from datetime import UTC, datetime

from pydantic import ValidationError

from edge_operator.app import StartError, run
from edge_operator.settings import OperatorSettings

USAGE_ERROR = 2


class _JsonLines(logging.Formatter):
    """One JSON object per line, as log collectors of clusters want it."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="edge-operator", description="Runs a fleet of edge workers from EdgeWorker and EdgeWorkerPool objects."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the operator; settings are environment variables EDGE_OPERATOR_...")
    parser.parse_args(arguments)
    try:
        settings = OperatorSettings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = "_".join(str(part) for part in first["loc"]).upper()
        sys.stderr.write(f"edge-operator: EDGE_OPERATOR_{field}: {first['msg']}\n")
        return USAGE_ERROR
    _log_to_stderr(settings.log_level)
    try:
        asyncio.run(run(settings))
    except StartError as error:
        sys.stderr.write(f"edge-operator: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=level, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main())
