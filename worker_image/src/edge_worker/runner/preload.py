"""Fill a template with all that its tasks would otherwise import and set up again and again.

A module that cannot be imported is skipped. A module that starts a thread makes the process unfit as a template, since
threads do not survive a fork and their locks may stay held for ever: the agent then starts another without it.
"""

import gc
import importlib
import os
import sys
import threading
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from edge_worker.runner.channel import Channel


class UnfitTemplateError(Exception):
    """A process that must not be forked."""

    def __init__(self, module: str, reason: str) -> None:
        super().__init__(f"{module}: {reason}")
        self.module = module
        self.reason = reason


def preload(modules: Iterable[str], channel: Channel) -> dict[str, str]:
    """Import modules; return those that failed, with the reason.

    Raises:
        UnfitTemplateError: a module started a thread.

    """
    skipped: dict[str, str] = {}
    for name in modules:
        if name in sys.modules:
            continue
        # Told before, not after: if the import takes the process down, the agent knows which one it was.
        channel.send(event="importing", module=name)
        try:
            with warnings.catch_warnings(action="ignore"):
                importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code at import may raise anything
            skipped[name] = f"{type(error).__name__}: {error}"
        if thread_count() > 1:
            raise UnfitTemplateError(name, "starts a thread when it is imported")
    return skipped


def thread_count() -> int:
    """Return the threads of this process, native ones included where the system tells."""
    with suppress(OSError):
        return len(list(Path("/proc/self/task").iterdir()))
    return threading.active_count()


def freeze() -> None:
    """Settle memory before the first fork, so that children share it as long as possible."""
    gc.collect()
    gc.freeze()


def resident_bytes() -> int | None:
    """Return the memory of this process, where the system tells."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return None
