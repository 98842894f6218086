"""Frames on their way to one worker, oldest first. They are few and small: nothing here waits behind log bytes."""

import asyncio
from collections import deque
from typing import Final

from edge_protocol.frames import Frame

MOST_FRAMES: Final = 20_000
"""A worker that does not read for so long is not there; its frames must not fill the memory."""


class Outbox:
    """A queue of encoded frames that can be closed; what is in it by then is still taken."""

    def __init__(self) -> None:
        self._frames: deque[str] = deque()
        self._changed = asyncio.Event()
        self.closed = False

    def put(self, frame: Frame) -> bool:
        """Add a frame; False if there is no room. After the close nothing is added."""
        if self.closed:
            return True
        if len(self._frames) >= MOST_FRAMES:
            return False
        self._frames.append(frame.model_dump_json())
        self._changed.set()
        return True

    def close(self) -> None:
        """Take no more frames."""
        self.closed = True
        self._changed.set()

    def nudge(self) -> None:
        """Let everybody who waits look again."""
        self._changed.set()

    @property
    def ready(self) -> bool:
        """Whether there is a reason not to wait."""
        return bool(self._frames) or self.closed

    def take(self) -> list[str]:
        """Return all frames."""
        frames = list(self._frames)
        self._frames.clear()
        return frames

    async def changed(self) -> None:
        """Wait until something may have changed; look at `ready` before each wait."""
        self._changed.clear()
        await self._changed.wait()
