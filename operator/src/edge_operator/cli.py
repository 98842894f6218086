"""The command line `edge-operator`: runs the operator, and the steps of the chart's hooks."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from pydantic import ValidationError

from edge_operator import install
from edge_operator.app import StartError, run
from edge_operator.kube.client import KubeError
from edge_operator.settings import ClusterSettings, OperatorSettings
from edge_protocol.json_logs import JsonLines

USAGE_ERROR = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = options.settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = "_".join(str(part) for part in first["loc"]).upper()
        sys.stderr.write(f"edge-operator: EDGE_OPERATOR_{field}: {first['msg']}\n")
        return USAGE_ERROR
    _log_to_stderr(settings.log_level)
    try:
        asyncio.run(options.work(settings, options))
    except (StartError, install.InstallError, KubeError) as error:
        sys.stderr.write(f"edge-operator: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-operator",
        description="Runs a fleet of edge workers from EdgeWorker and EdgeWorkerPool objects. "
        "Settings are environment variables named EDGE_OPERATOR_….",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    start = commands.add_parser("run", help="run the operator")
    start.set_defaults(settings=OperatorSettings, work=lambda settings, _: run(settings))
    create = commands.add_parser("create-secrets", help="create the Secrets of an installation that do not exist")
    create.add_argument(
        "parts", nargs="+", choices=install.SECRET_CONTENTS, metavar="SECRET", help="name after PREFIX-"
    )
    create.add_argument("--namespace", required=True, help="namespace of the release")
    create.add_argument("--release", required=True, help="name of the release, for a label")
    create.add_argument("--prefix", required=True, help="first part of the Secrets' names")
    create.add_argument("--database-host", default="", metavar="HOST", help="host in the database URLs")
    create.set_defaults(settings=ClusterSettings, work=install.create_secrets)
    crds = commands.add_parser("upgrade-crds", help="replace the cluster's CRDs by those in a folder")
    crds.add_argument("folder", type=Path, help="folder with one CRD per file, as JSON")
    crds.set_defaults(settings=ClusterSettings, work=install.upgrade_crds)
    drain = commands.add_parser(
        "delete-workers", help="delete pools and Managed workers, and wait until they have drained"
    )
    drain.add_argument("--timeout", type=float, default=240, metavar="S", help="seconds to wait")
    drain.set_defaults(settings=ClusterSettings, work=install.delete_workers)
    release = commands.add_parser("release-workers", help="remove the finalizer from the remaining EdgeWorkers")
    release.set_defaults(settings=ClusterSettings, work=install.release_workers)
    return parser


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main())
