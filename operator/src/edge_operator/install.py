"""The steps of an installation besides the operator itself, for the chart's hooks.

Before an install, upgrade or rollback the missing Secrets are created, whose random values no template may contain
(ADR 0027), and the CRDs are upgraded, which helm leaves alone. Before an uninstall the workers are deleted while the
operator still runs and drains them; after it the finalizer is removed from the remaining EdgeWorkers.
"""

import argparse
import asyncio
import base64
import json
import logging
import secrets
import string
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Final

from edge_operator.api import names
from edge_operator.api.types import Obj
from edge_operator.kube.client import CRDS, POOLS, SECRETS, WORKERS, ConflictError, KubeClient, NotFoundError, Resource
from edge_operator.settings import ClusterSettings

LOOK_S: Final = 1.0

log = logging.getLogger(__name__)


class InstallError(Exception):
    """A step can't be done; the message says how to fix it."""


def _text(length: int) -> str:
    """Return random letters and digits, which need no quoting in a URL."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


def _airflow(_: str) -> dict[str, str]:
    password = _text(20)
    return {
        "fernet-key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "jwt-secret": _text(64),
        "api-secret-key": _text(48),
        "admin-password": password,
        "passwords.json": json.dumps({"admin": password}),
    }


def _database(user: str, host: str) -> dict[str, str]:
    password = _text(32)
    url = f"postgresql+psycopg://{user}:{password}@{host}:5432/airflow"
    return {"user": user, "password": password, "url": url}


def _credential() -> dict[str, str]:
    return {"token": f"edgea_{uuid.uuid4().hex}_{_text(48)}"}


SECRET_CONTENTS: Final[dict[str, Callable[[str], dict[str, str]]]] = {
    "airflow": _airflow,
    "database": lambda host: _database("airflow", host),
    "edge-api-database": lambda host: _database("edge_api", host),
    "operator-credential": lambda _: _credential(),
    "fleet-page-credential": lambda _: _credential(),
}
"""Returns the new content of each Secret, by its name without the prefix, for a host of the database."""


async def create_secrets(settings: ClusterSettings, options: argparse.Namespace) -> None:
    """Create the Secrets that do not exist; leave the others alone. The only right needed is to create Secrets."""
    labels = {"app.kubernetes.io/name": "airflow-edge", "app.kubernetes.io/instance": options.release}
    async with KubeClient(settings.kubeconfig) as kube:
        for part in options.parts:
            name = f"{options.prefix}-{part}"
            secret: Obj = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"namespace": options.namespace, "name": name, "labels": labels},
                "type": "Opaque",
                "stringData": SECRET_CONTENTS[part](options.database_host),
            }
            try:
                await kube.create(SECRETS, secret)
            except ConflictError:
                log.info("Secret %s exists and is left alone", name)
            else:
                log.info("Secret %s is created", name)


async def upgrade_crds(settings: ClusterSettings, options: argparse.Namespace) -> None:
    """Replace the specs of the cluster's CRDs by those in the files, which may also remove fields; add annotations.

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
            meta = current["metadata"]
            annotations = (meta.get("annotations") or {}) | desired["metadata"]["annotations"]
            changed = {"metadata": meta | {"annotations": annotations}, "spec": desired["spec"]}
            await kube.update(CRDS, current | changed)
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
