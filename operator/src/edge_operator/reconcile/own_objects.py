"""The objects that the operator creates for an EdgeWorker: how it finds its own, and how it writes them.

All of them have one name, which somebody else may have taken. So the name alone proves nothing: only an object with an
owner reference to the EdgeWorker is read or written. Writing to another one would also add that reference, with which
the garbage collector later deletes it.
"""

from edge_operator.api import names
from edge_operator.api.types import EdgeWorker, Obj
from edge_operator.kube.client import Resource
from edge_operator.reconcile.context import Context, belongs_to


class NameTakenError(Exception):
    """An object with the name belongs to something else; the message says how to fix it."""


async def find_own(context: Context, worker: EdgeWorker, resource: Resource) -> Obj | None:
    """Return the EdgeWorker's object of a kind, or None if the name is free.

    Raises:
        NameTakenError: the object belongs to something else.

    """
    found = context.cache.get(resource, worker.meta.namespace, worker.child_name)
    if found is None or not belongs_to(found, worker):
        # The cache has no Secrets and no objects without the operator's labels, and it may be a moment behind.
        found = await context.kube.find(resource, worker.meta.namespace, worker.child_name)
    if found is not None and not belongs_to(found, worker):
        raise NameTakenError(_who_has_it(worker, resource, found))
    return found


async def write_own(context: Context, resource: Resource, desired: Obj, own: Obj | None) -> Obj:
    """Create or update an object; `own` is what `find_own` returned. Return the object as it is stored."""
    if own is None:
        # Without force: if somebody has created it in the meantime, the apiserver reports a conflict.
        return await context.kube.apply(resource, desired, force=False)
    # With the uid, another object that has taken the name since is a conflict too.
    metadata = desired["metadata"] | {"uid": own["metadata"]["uid"]}
    return await context.kube.apply(resource, desired | {"metadata": metadata}, force=True)


def _who_has_it(worker: EdgeWorker, resource: Resource, found: Obj) -> str:
    what = f"{resource.kind} {worker.child_name}"
    owners = found["metadata"].get("ownerReferences") or []
    if any(owner.get("kind") == names.WORKER_KIND and owner.get("name") == worker.meta.name for owner in owners):
        return f"{what} belonged to a deleted EdgeWorker of this name; Kubernetes will delete it shortly."
    return (
        f"{what} exists and does not belong to this EdgeWorker. It is left alone: "
        "delete it, or create the EdgeWorker under another name."
    )
