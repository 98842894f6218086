"""Calls of the apiserver with plain JSON objects, over the client that the `kubernetes` package ships for asyncio.

The generated models are not used: they would be made and thrown away for each object, and they lose fields of newer
apiservers.
"""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, ApiException, Configuration

from edge_operator.api import names
from edge_operator.api.types import Obj
from edge_operator.kube.errors import BY_STATUS, KubeError, NotFoundError, UnavailableError
from edge_operator.kube.resources import Resource

TIMEOUT_S = 20.0
"""Seconds for one call; a hung connection must not hold an object's turn for long."""
CONNECTIONS = 16
PAGE = 500
"""Objects of one page of a list, which bounds memory on both sides."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach the apiserver."""

    server: str
    ca_path: str | None
    token: str | None = field(repr=False)
    certificate_path: str | None
    key_path: str | None


class KubeClient:
    """Use it as a context manager. Every method raises a `KubeError`."""

    def __init__(self, kubeconfig: Path | None) -> None:
        self._kubeconfig = kubeconfig
        self._api: ApiClient | None = None

    async def __aenter__(self) -> Self:
        configuration = Configuration()
        try:
            if self._kubeconfig is not None:
                await config.load_kube_config(config_file=str(self._kubeconfig), client_configuration=configuration)
            else:
                config.load_incluster_config(client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            raise UnavailableError(
                f"no way to the cluster: {error}; run in a pod or set EDGE_OPERATOR_KUBECONFIG"
            ) from error
        configuration.connection_pool_maxsize = CONNECTIONS
        self._api = ApiClient(configuration)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._api is not None:
            await self._api.close()

    async def credentials(self) -> Credentials:
        """Return what to reach the apiserver with, as it is now (tokens are replaced while the operator runs)."""
        configuration = self._opened().configuration
        bearer = (await configuration.auth_settings()).get("BearerToken") or {}
        scheme, _, token = str(bearer.get("value") or "").partition(" ")
        return Credentials(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            token=(token or scheme).strip() or None,
            certificate_path=configuration.cert_file,
            key_path=configuration.key_file,
        )

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Obj:
        """Return one object; of a kind without namespaces where that is None."""
        return await self._call("GET", resource.path(namespace, name))

    async def find(self, resource: Resource, namespace: str, name: str) -> Obj | None:
        """Return one object, or None."""
        try:
            return await self.get(resource, namespace, name)
        except NotFoundError:
            return None

    async def list(self, resource: Resource, namespace: str | None, selector: str | None = None) -> list[Obj]:
        """Return all objects of a namespace, or of the cluster."""
        found: list[Obj] = []
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self._call("GET", resource.path(namespace), query=query)
            found += page["items"]
            more = (page.get("metadata") or {}).get("continue")
            if not more:
                return found
            query["continue"] = more

    async def create(self, resource: Resource, obj: Obj) -> Obj:
        """Create an object."""
        query = {"fieldManager": names.FIELD_MANAGER}
        return await self._call("POST", resource.path(obj["metadata"]["namespace"]), obj, query)

    async def try_create(self, resource: Resource, obj: Obj) -> None:
        """Have the apiserver check an object as if it were created."""
        query = {"fieldManager": names.FIELD_MANAGER, "dryRun": "All"}
        await self._call("POST", resource.path(obj["metadata"]["namespace"]), obj, query)

    async def apply(self, resource: Resource, obj: Obj) -> Obj:
        """Make an object as given, fields that are not given apart (server-side apply)."""
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        meta = obj["metadata"]
        path = resource.path(meta["namespace"], meta["name"])
        return await self._call("PATCH", path, obj, query, content="application/apply-patch+yaml")

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: Obj, subresource: str | None = None
    ) -> Obj:
        """Change the given fields; None removes one."""
        path = resource.path(namespace, name, subresource)
        query = {"fieldManager": names.FIELD_MANAGER}
        return await self._call("PATCH", path, patch, query, content="application/merge-patch+json")

    async def replace_fields(self, resource: Resource, namespace: str, name: str, operations: Any) -> Obj:
        """Carry out JSON patch operations; a `test` that fails is an `InvalidError`."""
        path = resource.path(namespace, name)
        query = {"fieldManager": names.FIELD_MANAGER}
        return await self._call("PATCH", path, operations, query, content="application/json-patch+json")

    async def update(self, resource: Resource, obj: Obj) -> Obj:
        """Replace an object if it has not changed since it was read."""
        meta = obj["metadata"]
        return await self._call("PUT", resource.path(meta.get("namespace"), meta["name"]), obj)

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str, grace_s: int | None = None
    ) -> Obj | None:
        """Delete the object if it still is the one meant; return what is left of it (finalizers, grace), if known."""
        options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            answer = await self._call("DELETE", resource.path(namespace, name), options)
        except NotFoundError:
            return None
        return answer if answer.get("kind") == resource.kind else None

    async def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: dict[str, str] | None = None,
        content: str = "application/json",
    ) -> Obj:
        client = self._opened()
        host = client.configuration.host.rstrip("/")
        url = f"{host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "Content-Type": content, "User-Agent": names.FIELD_MANAGER}
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
                response = await client.call_api(method, url, headers, body)
                text = await response.read()
        except ApiException as error:
            raise KubeError(f"{method} {path}: {error.reason}") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UnavailableError(
                f"{method} {path}: the apiserver does not answer ({type(error).__name__})"
            ) from error
        return _read_answer(method, path, response.status, text)

    def _opened(self) -> ApiClient:
        if self._api is None:
            raise UnavailableError("the client is not open")
        return self._api


def _read_answer(method: str, path: str, status: int, text: bytes) -> Obj:
    try:
        answer: Obj = json.loads(text)
    except ValueError:
        answer = {"message": text[:200].decode(errors="replace")}
    if 200 <= status < 300:
        return answer
    kind = BY_STATUS.get(status, UnavailableError if status >= 500 else KubeError)
    raise kind(f"{method} {path}: {answer.get('message') or status}")
