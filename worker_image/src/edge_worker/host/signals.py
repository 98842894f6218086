"""Signals that the agent acts on: requests to stop, and ends of child processes."""

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Final

if sys.platform == "win32":
    STOP: Final = (signal.SIGINT, signal.SIGBREAK)
else:
    STOP: Final = (signal.SIGTERM, signal.SIGINT)


def on_stop(loop: asyncio.AbstractEventLoop, callback: Callable[[signal.Signals], None]) -> None:
    """Call `callback` in the loop for each signal that asks for a stop."""

    def pass_on(number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(callback, signal.Signals(number))

    for number in STOP:
        if sys.platform == "win32":
            signal.signal(number, pass_on)
        else:
            loop.add_signal_handler(number, callback, number)


def on_child_end(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call `callback` in the loop whenever a child process has ended, where the system reports that."""
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGCHLD, callback)
