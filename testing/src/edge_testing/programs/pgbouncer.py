"""Finds PgBouncer: on PATH or in Debian's package, with the libraries that it needs beside libc and OpenSSL."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_images.commands import UnavailableError
from edge_testing.programs.binaries import debian_package, debian_program
from edge_testing.skipping import cannot_run

_LIBRARIES: Final = ("libc-ares2", "libevent-2.1-7")


@dataclass(frozen=True)
class PgBouncer:
    """The program, and the folders in which the loader looks for its libraries."""

    program: Path
    libraries: tuple[Path, ...] = ()


def find_pgbouncer() -> PgBouncer:
    """Return PgBouncer; skip (in CI: fail) the test if there is none."""
    found = shutil.which("pgbouncer")
    if found:
        return PgBouncer(Path(found))
    try:
        program = debian_program("pgbouncer", "pgbouncer")
        packages = [debian_package(name) for name in _LIBRARIES]
    except UnavailableError as error:
        cannot_run(error)
    folders = {path.parent for package in packages for path in package.rglob("*.so.*")}
    return PgBouncer(program, tuple(sorted(folders)))
