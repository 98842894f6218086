"""Signals that ask the agent to stop, and the one that ends a process at once."""

import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

if sys.platform == "win32":
    STOP: Final = (signal.SIGINT, signal.SIGBREAK)
    KILL: Final = signal.SIGTERM
else:
    STOP: Final = (signal.SIGTERM, signal.SIGINT)
    KILL: Final = signal.SIGKILL
"""`os.kill` with anything but a console event ends a process of Windows at once."""


def on_stop(loop: "asyncio.AbstractEventLoop", heed: Callable[[signal.Signals], None]) -> None:
    """Have `heed` called in the loop for each signal that asks for a stop."""
    for number in STOP:
        if sys.platform == "win32":
            signal.signal(number, lambda got, _: _pass_on(loop, heed, got))
        else:
            loop.add_signal_handler(number, heed, number)


def _pass_on(loop: "asyncio.AbstractEventLoop", heed: Callable[[signal.Signals], None], number: int) -> None:
    loop.call_soon_threadsafe(heed, signal.Signals(number))
