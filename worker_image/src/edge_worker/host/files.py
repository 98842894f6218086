"""Files: written as a whole or not at all, read and written at an offset, and made durable."""

import ctypes
import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

if sys.platform == "win32":
    OWN: Final = os.O_BINARY | os.O_NOINHERIT
else:
    OWN: Final = os.O_CLOEXEC
"""Flags for a descriptor that child processes do not inherit and that passes bytes unchanged."""

_FALLOC_FL_KEEP_SIZE = 0x01
_FALLOC_FL_PUNCH_HOLE = 0x02


def write_json(path: Path, content: Any, *, durable: bool = False) -> None:
    """Replace `path` by the JSON of `content`; a crash at any moment leaves the old file or the new one.

    `durable` also waits until it is on the disk, so that it survives a power cut.

    Raises:
        OSError: the folder is missing, full or read-only.

    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OWN, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """Return the content of `path`, or None where it is missing or not JSON (written by something else)."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return None


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Read up to `length` bytes, starting at `offset`."""
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, length)
    return os.pread(descriptor, length, offset)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Overwrite bytes, starting at `offset`."""
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        os.write(descriptor, data)
    else:
        os.pwrite(descriptor, data, offset)


def punch_hole(path: Path, start: int, end: int) -> None:
    """Free the disk space of a range, where the system and the file system can: the file keeps its size."""
    punch = _fallocate()
    if punch is None:
        return
    descriptor = os.open(path, os.O_RDWR | OWN)
    try:
        punch(descriptor, _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE, start, end - start)
    finally:
        os.close(descriptor)


@cache
def _fallocate() -> Any:
    if sys.platform != "linux":
        return None
    function = ctypes.CDLL(None, use_errno=True).fallocate64
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return function


def _sync_folder(folder: Path) -> None:
    """Make new names in a folder durable; Windows does that by itself."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | OWN)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
