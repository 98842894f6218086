"""Files that are either whole or not there, whatever dies in between. The runner writes task outcomes with this too."""

import json
import os
from pathlib import Path
from typing import Any

from edge_worker.host.files import OWN, sync_folder


def write_json(path: Path, content: Any, *, mode: int = 0o600, durable: bool = False) -> None:
    """Replace `path` by the JSON of `content`.

    `durable` also waits until it is on the disk, for what must survive a power cut.

    Raises:
        OSError: the folder is missing, full or read-only.

    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OWN, mode)
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
        sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """Return the content of `path`, or None where it is missing or not JSON (written by something else)."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return None
