"""Commands of `edge-api`, run inside the test process."""

import contextlib
import io
from dataclasses import dataclass

import pytest

from edge_api.cli.main import main


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def edge_api(database: str | None, *arguments: str, **variables: str) -> Done:
    """Run an `edge-api` command inside this process, and return its result."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.delenv("EDGE_API_DATABASE_URL", raising=False)
        for name, value in {**variables, **({} if database is None else {"EDGE_API_DATABASE_URL": database})}.items():
            patch.setenv(name, value)
        try:
            code = main(arguments)
        except SystemExit as stop:  # raised by argparse
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def join_token(database: str, *options: str) -> str:
    """Create a join token; `options` are those of `edge-api token create`."""
    made = edge_api(database, "token", "create", *options)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()
