"""The apiserver: the kinds that the operator uses, its calls with plain JSON objects, and their errors.

The calls use the asyncio client of the `kubernetes` package, but not its generated models: they would be created and
discarded for each object, and they drop fields of newer apiservers.

    KubeError
      NotFoundError      the object does not exist
      ConflictError      it exists already or has changed: read it again
      ForbiddenError     a right is missing, or the namespace is being deleted
      InvalidError       the apiserver refuses the object; its message says why
      UnavailableError   no answer, or the apiserver is overloaded
"""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, ApiException, Configuration

from edge_operator.api import names
from edge_operator.api.types import Obj


class KubeError(Exception):
    """The apiserver refused a call."""


class NotFoundError(KubeError):
    """The object does not exist."""


class ConflictError(KubeError):
    """The object exists already, or has changed since it was read."""


class ForbiddenError(KubeError):
    """The operator's service account lacks a right, or the namespace is being deleted."""


class InvalidError(KubeError):
    """The apiserver refuses the object; the message says why."""


class UnavailableError(KubeError):
    """The apiserver did not answer."""


BY_STATUS: dict[int, type[KubeError]] = {
    400: InvalidError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: UnavailableError,
    422: InvalidError,
    429: UnavailableError,
}


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, and its URLs."""

    group: str
    version: str
    plural: str
    kind: str

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the path of one object, of all objects in a namespace, or of all objects."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/" + "/".join(quote(part, safe="") for part in parts)


WORKERS = Resource(names.GROUP, names.VERSION, "edgeworkers", names.WORKER_KIND)
POOLS = Resource(names.GROUP, names.VERSION, "edgeworkerpools", names.POOL_KIND)
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
PODS = Resource("", "v1", "pods", "Pod")
SECRETS = Resource("", "v1", "secrets", "Secret")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
EVENTS = Resource("", "v1", "events", "Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")

TIMEOUT_S = 20.0
"""Seconds for one call; a hung connection must not block an object's pass for long."""
CONNECTIONS = 16
PAGE = 500
"""Objects per page of a list; bounds the memory of both sides."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach the apiserver."""

    server: str
    ca_path: str | None
    token: str | None = field(repr=False)
    certificate_path: str | None
    key_path: str | None


class KubeClient:
    """Use it as a context manager. Each call may raise any `KubeError`."""

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
                f"no access to a cluster: {error}; run in a pod or set EDGE_OPERATOR_KUBECONFIG"
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
        """Return the current credentials (tokens are replaced while the operator runs)."""
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
        """Return one object; `namespace` is None for cluster-scoped kinds."""
        return await self._call("GET", resource.path(namespace, name))

    async def find(self, resource: Resource, namespace: str, name: str) -> Obj | None:
        """Return one object, or None if it does not exist."""
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
        """Create an object as a dry run: the apiserver checks it and stores nothing."""
        query = {"fieldManager": names.FIELD_MANAGER, "dryRun": "All"}
        await self._call("POST", resource.path(obj["metadata"]["namespace"]), obj, query)

    async def apply(self, resource: Resource, obj: Obj, *, force: bool) -> Obj:
        """Create or update an object by server-side apply; unspecified fields are left alone.

        `force` takes over fields that others have set; without it, they raise a `ConflictError`.
        """
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true" if force else "false"}
        meta = obj["metadata"]
        path = resource.path(meta["namespace"], meta["name"])
        return await self._call("PATCH", path, obj, query, content="application/apply-patch+yaml")

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: Obj, subresource: str | None = None
    ) -> Obj:
        """Apply a JSON merge patch; None removes a field."""
        path = resource.path(namespace, name, subresource)
        query = {"fieldManager": names.FIELD_MANAGER}
        return await self._call("PATCH", path, patch, query, content="application/merge-patch+json")

    async def json_patch(self, resource: Resource, namespace: str, name: str, operations: Any) -> Obj:
        """Apply JSON patch operations; a `test` that fails raises an `InvalidError`."""
        path = resource.path(namespace, name)
        query = {"fieldManager": names.FIELD_MANAGER}
        return await self._call("PATCH", path, operations, query, content="application/json-patch+json")

    async def update(self, resource: Resource, obj: Obj) -> Obj:
        """Replace an object unless it has changed since it was read."""
        meta = obj["metadata"]
        return await self._call("PUT", resource.path(meta.get("namespace"), meta["name"]), obj)

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str, grace_s: int | None = None
    ) -> Obj | None:
        """Delete the object with this uid; return its remaining state (finalizers, grace period), if any."""
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


def merge_patch(before: Any, after: Any) -> Any:
    """Return the JSON merge patch that turns `before` into `after`."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    removed: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    return removed | {
        key: merge_patch(before.get(key), value) for key, value in after.items() if before.get(key) != value
    }
