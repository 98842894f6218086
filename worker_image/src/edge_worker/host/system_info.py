"""The host's load, memory and disk, as heartbeats report them. On Linux they are read from /proc, which is cheap."""

import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SysInfo = dict[str, float | int | str | None]


@dataclass(slots=True)
class SystemMonitor:
    """Reads the numbers; CPU use is measured since the previous reading."""

    disk_path: Path
    _busy: float = field(default=0.0)
    _total: float = field(default=0.0)

    def read(self) -> SysInfo:
        """Return cpu_percent, memory_percent, disk_free_bytes and load1, as far as the system has them."""
        info: SysInfo = {}
        if sys.platform != "win32":
            with suppress(OSError):
                info["load1"] = round(os.getloadavg()[0], 2)
        with suppress(OSError):
            info["disk_free_bytes"] = shutil.disk_usage(self.disk_path).free
        with suppress(OSError, ValueError, KeyError):
            info |= self._from_proc() if sys.platform == "linux" else _from_psutil()
        return info

    def _from_proc(self) -> SysInfo:
        fields = [
            float(value) for value in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
        ]
        total, idle = sum(fields), fields[3] + fields[4]
        busy = total - idle
        passed = total - self._total
        cpu = 100 * (busy - self._busy) / passed if passed > 0 else 0.0
        self._busy, self._total = busy, total
        memory = dict(
            line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines() if ":" in line
        )
        available, size = (int(memory[name].split()[0]) for name in ("MemAvailable", "MemTotal"))
        return {"cpu_percent": round(cpu, 1), "memory_percent": round(100 * (1 - available / size), 1)}


def _from_psutil() -> SysInfo:
    import psutil  # noqa: PLC0415 - 3 MB of the agent's 50, and Linux does without it

    return {"cpu_percent": psutil.cpu_percent(), "memory_percent": psutil.virtual_memory().percent}
