"""Files opened for bytes, read and written at a place, and made durable."""

import ctypes
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

if sys.platform == "win32":
    OWN: Final = os.O_BINARY | os.O_NOINHERIT
else:
    OWN: Final = os.O_CLOEXEC
"""Flags for a descriptor that is this process's alone and passes bytes as they are."""

_FALLOC_FL_KEEP_SIZE = 0x01
_FALLOC_FL_PUNCH_HOLE = 0x02


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Read up to `length` bytes from `offset` on."""
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, length)
    return os.pread(descriptor, length, offset)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write over bytes from `offset` on."""
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        os.write(descriptor, data)
    else:
        os.pwrite(descriptor, data, offset)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable; Windows does that by itself."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | OWN)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def punch_hole(path: Path, start: int, end: int) -> None:
    """Give the disk space of a range back, where the system and the file system can: the file keeps its size."""
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
