"""Which Connection or Variable a forwarded call names, and whether its worker's credential allows it.

Decoded once, as Airflow does. A path that some server on the way could read as another name has no name here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

from edge_store.identity.scopes import STAR, lists

_LISTING: Final = "keys"
"""`GET variables/keys` returns the names of all Variables (`airflow.api_fastapi.execution_api.routes.variables`)."""
_READS: Final = frozenset({"GET", "HEAD"})
_ODD: Final = frozenset("#?\ufffd")
"""Raw, they end a path; decoded, the last one stands for what is no UTF-8."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a call names."""

    resource: Literal["connections", "variables"]
    name: str | None
    """`*`: all names. None: the path has none, or can be read in two ways."""

    def allowed(self, names: Sequence[str] | None) -> bool:
        """Return whether a list of names, or of prefixes and a star, has it; None: any."""
        return names is None or (self.name is not None and lists(names, self.name))

    def __str__(self) -> str:
        """Return it for people."""
        kind = "Connection" if self.resource == "connections" else "Variable"
        if self.name is None:
            return f"{kind} with an ambiguous name"
        return f"list of all {kind}s" if self.name == STAR else f"{kind} {self.name}"


def named(method: str, path: str) -> Named | None:
    """Return what a path below the Execution API, as it is on the wire, names; None: neither of the two."""
    resource, _, rest = path.partition("/")
    name = None if _ambiguous(rest) else unquote(rest)
    if resource == "connections":
        return Named("connections", name)
    if resource == "variables":
        return Named("variables", STAR if name == _LISTING and method in _READS else name)
    return None


def _ambiguous(raw: str) -> bool:
    """Return whether a server could take a name for another one: it decodes again, merges slashes or cuts the path."""
    name = unquote(raw)
    return "" in name.split("/") or unquote(name) != name or not _ODD.isdisjoint(raw) or "\ufffd" in name
