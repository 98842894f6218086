"""The agent's own log: one line of key=value pairs per event on stderr, for journald and container logs alike."""

import json
import logging
import sys
import traceback


class KeyValueFormatter(logging.Formatter):
    """Formats a record as `time=… level=… logger=… event="…"`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback is one more quoted value, so a record stays one line."""
        time = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        line = (
            f"time={time}.{int(record.msecs):03d} level={record.levelname.lower()} logger={record.name} "
            f"event={json.dumps(record.getMessage(), ensure_ascii=False)}"
        )
        if record.exc_info:
            text = "".join(traceback.format_exception(*record.exc_info))
            line += f" exception={json.dumps(text, ensure_ascii=False)}"
        return line


def log_to_stderr(level: str) -> None:
    """Log to stderr, from `level` upwards."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
