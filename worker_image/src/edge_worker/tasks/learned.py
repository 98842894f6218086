"""Modules that tasks were seen to import: the preload list of the next template, and when to start it.

The list is kept over restarts. A fresh worker starts with the modules that every Airflow task imports
(`common-modules.txt`), so that its first task is fast too. A start costs seconds of CPU that tasks could use. The first
tasks of a new kind each import what the template lacks, so many new modules lead to a new template at once; a few wait
until no task runs.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edge_worker.host.files import read_json, write_json

log = logging.getLogger(__name__)

MODULES_MAX = 20_000
"""Far above what tasks import; bounds the file and the start of a template."""
MANY_MODULES = 20
"""New modules that lead to a new template at once."""
IDLE_S = 2.0
"""Seconds without a task before a few new modules lead to a new template."""
PATIENCE_S = 60.0
"""Seconds after which a few new modules lead to a new template even on a busy worker."""
SPACING_S = 15.0
"""Least seconds between two starts."""


class LearnedModules:
    """Module names in the order in which they were learned, and denied ones, which make a template unfit to fork."""

    def __init__(self, path: Path, common: Iterable[str] | None = None) -> None:
        self._path = path
        self._common = tuple(common if common is not None else common_modules())
        content = read_json(path)
        content = content if isinstance(content, dict) else {}
        modules, denied = content.get("modules"), content.get("denied")
        self._learned = dict.fromkeys(str(name) for name in (modules if isinstance(modules, list) else ()))
        self.denied: dict[str, str] = {
            str(name): str(why) for name, why in (denied if isinstance(denied, dict) else {}).items()
        }

    def preload_list(self) -> list[str]:
        """Return the modules for a new template to import."""
        names = dict.fromkeys((*self._common, *self._learned))
        return [name for name in names if not self.is_denied(name)]

    def add(self, names: Iterable[str]) -> int:
        """Add modules; return how many of them are new and not denied."""
        known = {*self._common, *self._learned}
        new = sorted(name for name in names if name not in known and not self.is_denied(name))
        new = new[: MODULES_MAX - len(self._learned)]
        self._learned.update(dict.fromkeys(new))
        return len(new)

    def deny(self, name: str, reason: str) -> None:
        """Leave a module and its submodules out of templates from now on."""
        log.warning("module %s is no longer preloaded: %s", name, reason)
        self.denied[name] = reason

    def is_denied(self, name: str) -> bool:
        """Return whether a module or a package above it is denied."""
        return any(name == denied or name.startswith(f"{denied}.") for denied in self.denied)

    def save(self) -> None:
        """Write the list to the state folder."""
        write_json(self._path, {"modules": list(self._learned), "denied": self.denied})


def common_modules() -> list[str]:
    """Return the built-in list."""
    text = Path(__file__).with_name("common-modules.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@dataclass(slots=True)
class RefreshPolicy:
    """Decides when to start a new template: pure. Times are seconds of one monotonic clock."""

    new_modules: int = 0
    _outdated: bool = False
    _first_new_at: float = 0.0
    _idle_since: float | None = None
    _not_before: float = field(default=0.0)

    def learned(self, count: int, now: float) -> None:
        """Note how many new modules were learned."""
        if count and not self.new_modules:
            self._first_new_at = now
        self.new_modules += count

    def packages_changed(self) -> None:
        """Note that packages were installed, upgraded or removed: the current template has old code."""
        self._outdated = True

    def tasks_running(self, count: int, now: float) -> None:
        """Note how many tasks run."""
        if count:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now

    def started(self, now: float) -> None:
        """Note that a template with all known modules is being started."""
        self.new_modules = 0
        self._outdated = False
        self._not_before = now + SPACING_S

    def due_at(self) -> float | None:
        """Return when the next template is due; None: not before modules are learned or packages change."""
        if self._outdated:
            return self._not_before
        if not self.new_modules:
            return None
        if self.new_modules >= MANY_MODULES:
            return self._not_before
        due = self._first_new_at + PATIENCE_S
        if self._idle_since is not None:
            due = min(due, self._idle_since + IDLE_S)
        return max(due, self._not_before)
