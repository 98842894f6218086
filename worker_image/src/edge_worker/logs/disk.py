"""Operations on log files: reading pieces, and freeing disk space while a task still appends to the file.

Freed and dropped ranges become holes in the file, so offsets do not change. Only Linux can do that; elsewhere the space
is freed when the lease's folder is deleted.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from edge_worker.host import files

_LINE_SEARCH_BYTES = 1 << 16


def file_size(path: Path) -> int:
    """Return the size of a file; 0 if it does not exist (yet)."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def read_piece(path: Path, offset: int, length: int) -> bytes:
    """Return up to `length` bytes, starting at `offset`; nothing if the file does not exist."""
    try:
        descriptor = os.open(path, os.O_RDONLY | files.OWN)
    except FileNotFoundError:
        return b""
    try:
        return files.read_at(descriptor, length, offset)
    finally:
        os.close(descriptor)


def free(path: Path, start: int, end: int) -> None:
    """Free the disk space of a range, where the system and the file system can."""
    if end > start:
        files.punch_hole(path, start, end)


def next_line_start(path: Path, offset: int) -> int:
    """Return the start of the first line at or after `offset`, or `offset` itself if no line ends within 64 KiB."""
    if offset == 0:
        return 0
    piece = read_piece(path, offset - 1, _LINE_SEARCH_BYTES)
    newline = piece.find(b"\n")
    return offset if newline < 0 else offset + newline


def ends_line(path: Path, offset: int) -> bool:
    """Return whether the byte before `offset` ends a line."""
    return offset == 0 or read_piece(path, offset - 1, 1) == b"\n"


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Overwrite bytes in the middle of a file."""
    descriptor = os.open(path, os.O_WRONLY | files.OWN)
    try:
        files.write_at(descriptor, data, offset)
    finally:
        os.close(descriptor)


def log_line(level: str, event: str) -> bytes:
    """Return one line in the format of Airflow's task logs."""
    fields = {"timestamp": datetime.now(UTC).isoformat(), "level": level, "event": event, "logger": "edge_worker"}
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def append_line(path: Path, level: str, event: str) -> None:
    """Append one line to a task's log, for something that only the worker knows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = b"" if ends_line(path, file_size(path)) else b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | files.OWN, 0o664)
    try:
        os.write(descriptor, start + log_line(level, event))
    finally:
        os.close(descriptor)
