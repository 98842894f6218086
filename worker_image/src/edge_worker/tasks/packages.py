"""Which packages are installed, as their metadata folders show: a change means that templates have old code."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress

_METADATA = (".dist-info", ".egg-info")
_FOLDERS = ("site-packages", "dist-packages")

Packages = frozenset[tuple[str, int]]
"""Metadata folders with their times of change; a reinstall of the same version changes the time."""


def installed_packages(paths: Iterable[str] | None = None) -> Packages:
    """Return the packages installed now."""
    found: set[tuple[str, int]] = set()
    for path in sys.path if paths is None else paths:
        if path.endswith(_FOLDERS):
            with suppress(OSError), os.scandir(path) as entries:
                found |= {(entry.path, entry.stat().st_mtime_ns) for entry in entries if entry.name.endswith(_METADATA)}
    return frozenset(found)
