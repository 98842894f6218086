"""A cache folder that all checkouts share, with a lock for each entry."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder; `EDGE_TEST_CACHE` moves it."""
    root = os.environ.get("EDGE_TEST_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(root).expanduser() / "airflow-edge-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """Hold the lock of an entry, and yield the folder of the entry."""
    folder = cache_folder()
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / name


@contextmanager
def filling(entry: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `entry` if the block succeeds, so that no entry is ever incomplete."""
    fresh = entry.with_name(f"{entry.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    yield fresh
    shutil.rmtree(entry, ignore_errors=True)
    fresh.rename(entry)
