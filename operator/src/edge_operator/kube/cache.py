"""What the watches have told: one copy of every object that the operator cares about, and who wants to know of changes.

kopf's watches do not tell of objects that vanished while a watch was down, so a full pass replaces the whole when one
has begun anew, and from time to time (`replace`).
"""

from collections.abc import Callable, Iterable

from edge_operator.api.types import Obj
from edge_operator.kube.resources import Resource

Key = tuple[str, str]
"""(namespace, name)."""


class Cache:
    """Objects by kind and key."""

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[Key, Obj]] = {}
        self._listener: Callable[[Resource, Obj], None] | None = None

    def on_change(self, listener: Callable[[Resource, Obj], None]) -> None:
        """Have `listener` called with each object that is new, changed or gone."""
        self._listener = listener

    def put(self, resource: Resource, obj: Obj) -> None:
        """Note an object as the apiserver told it; an older copy than the known one is dropped."""
        obj["metadata"].pop("managedFields", None)
        known = self._of(resource).get(key_of(obj))
        if known is not None and _older(obj, known):
            return
        self._of(resource)[key_of(obj)] = obj
        if known is None or known["metadata"].get("resourceVersion") != obj["metadata"].get("resourceVersion"):
            self._tell(resource, obj)

    def drop(self, resource: Resource, obj: Obj) -> None:
        """Note that an object is gone, unless another of its name has come since."""
        known = self._of(resource).get(key_of(obj))
        if known is not None and known["metadata"].get("uid") == obj["metadata"].get("uid"):
            del self._of(resource)[key_of(obj)]
            self._tell(resource, obj)

    def keys(self, resource: Resource) -> set[Key]:
        """Return the keys of all objects of a kind."""
        return set(self._of(resource))

    def replace(self, resource: Resource, objects: Iterable[Obj], known_before: set[Key]) -> None:
        """Note a list: of the keys known before it was asked for, those that it lacks are gone."""
        listed = {key_of(obj): obj for obj in objects}
        for key in known_before - listed.keys():
            gone = self._of(resource).get(key)
            if gone is not None:
                self.drop(resource, gone)
        for obj in listed.values():
            self.put(resource, obj)

    def get(self, resource: Resource, namespace: str, name: str) -> Obj | None:
        """Return one object."""
        return self._of(resource).get((namespace, name))

    def all(self, resource: Resource) -> list[Obj]:
        """Return all objects of a kind."""
        return list(self._of(resource).values())

    def _of(self, resource: Resource) -> dict[Key, Obj]:
        return self._objects.setdefault(resource, {})

    def _tell(self, resource: Resource, obj: Obj) -> None:
        if self._listener is not None:
            self._listener(resource, obj)


def key_of(obj: Obj) -> Key:
    """Return the key of an object."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _older(obj: Obj, known: Obj) -> bool:
    """Return whether `obj` is an earlier state of `known`. etcd's versions are growing numbers."""
    if obj["metadata"].get("uid") != known["metadata"].get("uid"):
        return False
    return int(obj["metadata"].get("resourceVersion") or 0) < int(known["metadata"].get("resourceVersion") or 0)
