"""Splits a task log into lines as its chunks are read."""


class LineSplitter:
    """Takes chunks in the order of their offsets and returns complete lines.

    A chunk may end in the middle of a line, even of a character: bytes are decoded line by line, and a newline byte is
    never part of a longer UTF-8 character.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._end = 0

    def feed(self, start: int, data: bytes) -> list[str]:
        """Return the lines that this chunk completes. A gap before `start` (dropped bytes) ends the line before it."""
        lines = self.flush() if start != self._end else []
        self._end = start + len(data)
        head, newline, tail = data.partition(b"\n")
        if not newline:
            self._rest.append(data)
            return lines
        *whole, rest = tail.split(b"\n")
        lines.append(_decode(b"".join([*self._rest, head])))
        lines += map(_decode, whole)
        self._rest = [rest] if rest else []
        return lines

    def flush(self) -> list[str]:
        """Return the incomplete last line, if there is one, and forget it."""
        rest, self._rest = b"".join(self._rest), []
        return [_decode(rest)] if rest else []


def _decode(line: bytes) -> str:
    return line.decode("utf-8", errors="replace")
