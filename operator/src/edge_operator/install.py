"""The steps of an installation besides the operator itself, for the chart's hooks.

Before an upgrade the CRDs are upgraded, which helm leaves alone. Before an uninstall the workers are deleted while the
operator still runs and drains them; after it the finalizer is removed from the remaining EdgeWorkers.
"""

import argparse
import asyncio
import json
import logging
import time
from collections.abc import Iterable
from typing import Final

from edge_operator.api import names
from edge_operator.api.types import Obj
from edge_operator.kube.client import CRDS, POOLS, WORKERS, KubeClient, NotFoundError, Resource
from edge_operator.settings import ClusterSettings

LOOK_S: Final = 1.0

log = logging.getLogger(__name__)


class InstallError(Exception):
    """A step can't be done; the message says how to fix it."""


async def upgrade_crds(settings: ClusterSettings, options: argparse.Namespace) -> None:
    """Replace the specs of the cluster's CRDs by those in the files, which may also remove fields.

    Raises:
        InstallError: there are no files, or the cluster does not have one of the CRDs.

    """
    files = sorted(options.folder.glob("*.json"))
    if not files:
        raise InstallError(f"{options.folder} has no CRDs; name a folder with one per file, as JSON")
    async with KubeClient(settings.kubeconfig) as kube:
        for file in files:
            desired: Obj = json.loads(file.read_text())
            name = desired["metadata"]["name"]
            try:
                current = await kube.get(CRDS, None, name)
            except NotFoundError as error:
                raise InstallError(f"the cluster does not have {name}; run: kubectl apply -f crds/") from error
            await kube.update(CRDS, current | {"spec": desired["spec"]})
            log.info("%s is up to date", name)


async def delete_workers(settings: ClusterSettings, options: argparse.Namespace) -> None:
    """Delete pools and Managed workers, and wait until the operator has drained them all.

    Raises:
        InstallError: some remain after the timeout.

    """
    end = time.monotonic() + options.timeout
    async with KubeClient(settings.kubeconfig) as kube:
        await _delete(kube, POOLS, await _list(kube, settings, POOLS))
        logged = ""
        while remaining := [worker for worker in await _list(kube, settings, WORKERS) if _managed(worker)]:
            await _delete(kube, WORKERS, remaining)
            waiting = ", ".join(
                sorted(f"{worker['metadata']['namespace']}/{worker['metadata']['name']}" for worker in remaining)
            )
            if time.monotonic() > end:
                raise InstallError(
                    f"these workers are still draining: {waiting}. Repeat this later, or annotate them with "
                    f"{names.FORCE_DELETE}=true, which stops their tasks"
                )
            if waiting != logged:
                log.info("draining: %s", waiting)
                logged = waiting
            await asyncio.sleep(LOOK_S)


async def release_workers(settings: ClusterSettings, _: argparse.Namespace) -> None:
    """Remove the finalizer from all EdgeWorkers: without an operator their deletion would hang."""
    async with KubeClient(settings.kubeconfig) as kube:
        for worker in await _list(kube, settings, WORKERS):
            meta = worker["metadata"]
            others = [finalizer for finalizer in meta.get("finalizers") or [] if finalizer != names.FINALIZER]
            patch = {"metadata": {"finalizers": others or None}}
            try:
                await kube.merge(WORKERS, meta["namespace"], meta["name"], patch)
            except NotFoundError:
                continue
            log.info("%s/%s is released", meta["namespace"], meta["name"])


def _managed(worker: Obj) -> bool:
    return bool(worker["spec"].get("mode") != "External")


async def _list(kube: KubeClient, settings: ClusterSettings, resource: Resource) -> list[Obj]:
    """Return all objects of a kind in the operator's namespaces; none if the cluster does not know the kind."""
    found: list[Obj] = []
    for scope in settings.scopes:
        try:
            found += await kube.list(resource, scope)
        except NotFoundError:
            return []
    return found


async def _delete(kube: KubeClient, resource: Resource, objects: Iterable[Obj]) -> None:
    for obj in objects:
        meta = obj["metadata"]
        if "deletionTimestamp" not in meta:
            await kube.delete(resource, meta["namespace"], meta["name"], meta["uid"])
