"""One copy of every watched object, and who is notified of changes.

kopf's indices are not used (ADR 0023): they can't hold what the operator has just written, and objects that vanished
while a watch was down stay in them. Here a full pass replaces everything (`replace`), from time to time and when a
watch has restarted.
"""

from collections.abc import Callable, Iterable

from edge_operator.api.types import Obj
from edge_operator.kube.client import Resource

ObjectName = tuple[str, str]
"""(namespace, name)."""


class Cache:
    """Objects by kind and name."""

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[ObjectName, Obj]] = {}
        self._listener: Callable[[Resource, Obj], None] | None = None

    def on_change(self, listener: Callable[[Resource, Obj], None]) -> None:
        """Have `listener` called with each object that is new, changed or gone."""
        self._listener = listener

    def put(self, resource: Resource, obj: Obj) -> None:
        """Store an object that the apiserver returned, unless a newer copy is known."""
        obj["metadata"].pop("managedFields", None)
        known = self._of(resource).get(_name_of(obj))
        if known is not None and _older(obj, known):
            return
        self._of(resource)[_name_of(obj)] = obj
        if known is None or known["metadata"].get("resourceVersion") != obj["metadata"].get("resourceVersion"):
            self._notify(resource, obj)

    def drop(self, resource: Resource, obj: Obj) -> None:
        """Remove an object that is gone, unless another object has taken its name since."""
        known = self._of(resource).get(_name_of(obj))
        if known is not None and known["metadata"].get("uid") == obj["metadata"].get("uid"):
            del self._of(resource)[_name_of(obj)]
            self._notify(resource, obj)

    def names(self, resource: Resource) -> set[ObjectName]:
        """Return the names of all objects of a kind."""
        return set(self._of(resource))

    def replace(self, resource: Resource, objects: Iterable[Obj], known_before: set[ObjectName]) -> None:
        """Store a list; objects that were known before the list was requested and are not in it are gone."""
        listed = {_name_of(obj): obj for obj in objects}
        for name in known_before - listed.keys():
            gone = self._of(resource).get(name)
            if gone is not None:
                self.drop(resource, gone)
        for obj in listed.values():
            self.put(resource, obj)

    def get(self, resource: Resource, namespace: str, name: str) -> Obj | None:
        """Return one object, or None."""
        return self._of(resource).get((namespace, name))

    def all(self, resource: Resource) -> list[Obj]:
        """Return all objects of a kind."""
        return list(self._of(resource).values())

    def _of(self, resource: Resource) -> dict[ObjectName, Obj]:
        return self._objects.setdefault(resource, {})

    def _notify(self, resource: Resource, obj: Obj) -> None:
        if self._listener is not None:
            self._listener(resource, obj)


def _name_of(obj: Obj) -> ObjectName:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _older(obj: Obj, known: Obj) -> bool:
    """Return whether `obj` is an earlier version of `known`. Resource versions of etcd are increasing numbers."""
    if obj["metadata"].get("uid") != known["metadata"].get("uid"):
        return False
    return int(obj["metadata"].get("resourceVersion") or 0) < int(known["metadata"].get("resourceVersion") or 0)
