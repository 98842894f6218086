"""Modules that tasks were seen to import: the list behind the next template, kept over restarts.

A fresh worker starts with a list of what every Airflow task imports (`common-modules.txt`), so that its first task is
fast too.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from edge_worker.host.atomic import read_json, write_json

log = logging.getLogger(__name__)

MODULES_MAX = 20_000
"""Far above what tasks import; bounds the file and a template's start."""


class LearnedModules:
    """Module names in the order in which they were learned, and those that make a template unfit."""

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
        """Return what a new template has to import."""
        names = dict.fromkeys((*self._common, *self._learned))
        return [name for name in names if not self.is_denied(name)]

    def add(self, names: Iterable[str]) -> int:
        """Note modules; return how many of them are new and of use."""
        known = {*self._common, *self._learned}
        new = sorted(name for name in names if name not in known and not self.is_denied(name))
        new = new[: MODULES_MAX - len(self._learned)]
        self._learned.update(dict.fromkeys(new))
        return len(new)

    def deny(self, name: str, reason: str) -> None:
        """Keep a module, and what lies below it, out of templates from now on."""
        log.warning("module %s is not preloaded any more: %s", name, reason)
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
