"""Programs that tests start in place of the installed ones."""

import sys
from pathlib import Path

SHELL_AGENT = Path(__file__).with_name("shell_agent.py")
"""The real agent; its tasks are shell commands: `python SHELL_AGENT run …`."""
SHELL_RUNNER = [sys.executable, str(Path(__file__).with_name("shell_runner.py"))]
"""The command of that agent's runner."""
