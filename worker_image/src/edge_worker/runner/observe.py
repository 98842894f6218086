"""Observes which modules a task's processes had to import, so that the next template imports them in advance.

Only modules of installed packages and the standard library count: modules of a DAG bundle may change at any time and
never go into a template.
"""

import sys
import sysconfig
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Any

from edge_worker.tasks.spool import LeaseFolder

_INSTALLED = tuple(
    {f"{sysconfig.get_path(kind)}/" for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {f"{path}/" for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
)


class ImportObserver:
    """Compares the modules imported now with those that the template had."""

    def __init__(self) -> None:
        self._known = frozenset(sys.modules)
        self.folder: LeaseFolder | None = None
        """Set in each task's supervisor before it starts the task's process."""

    def note(self, process: str) -> None:
        """Write down the modules that this process imported beyond those of the template."""
        if self.folder is None or not self.folder.root.is_dir():
            return
        names = installed_modules({name: module for name, module in sys.modules.items() if name not in self._known})
        if names:
            self.folder.write_modules(process, names)

    def watch(self, main: Callable[[], None]) -> Callable[[], None]:
        """Return `main` of the task's process, extended to write down its imports at the end."""

        @wraps(main)
        def observed() -> None:
            try:
                main()
            finally:
                self.note("task")

        return observed


def installed_modules(modules: dict[str, Any], prefixes: Collection[str] = _INSTALLED) -> list[str]:
    """Return the names of modules that can be imported by that name from an installed package."""
    return [name for name, module in modules.items() if _is_installed(name, module, prefixes)]


def _is_installed(name: str, module: Any, prefixes: Collection[str]) -> bool:
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None)
    if name == "__main__" or spec is None or spec.name != name or not isinstance(origin, str):
        return False
    return Path(origin).is_absolute() and origin.startswith(tuple(prefixes))
