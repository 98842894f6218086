"""EdgeWorker and EdgeWorkerPool as the operator reads them from the apiserver.

The apiserver has already enforced the CRD's schema. These models check what a schema can't express, and name the
invalid field where an older CRD let something through.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from edge_operator.api import names
from edge_protocol.limits import COMMENT_MAX, CONCURRENCY_MAX, OUTAGE_TOLERANCE_MAX_S, QueueName, WorkerName

Obj = dict[str, Any]
"""A Kubernetes object as JSON."""

M = TypeVar("M", bound=BaseModel)


def timestamp(at: datetime) -> str:
    """Return a time as Kubernetes writes it: UTC, whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_timestamp(value: str | None) -> datetime | None:
    """Return a time that Kubernetes wrote, or None where there is none."""
    return datetime.fromisoformat(value) if value else None


class SpecError(ValueError):
    """A spec is invalid; the message names the field."""


class Model(BaseModel):
    """Base of the spec models: camel-case names; the apiserver decides about unknown fields."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Maintenance(Model):
    """`spec.maintenance`."""

    enabled: bool = False
    comment: str = Field(default="", max_length=COMMENT_MAX)


class Spool(Model):
    """`spec.spool`."""

    type: Literal["PersistentVolumeClaim", "EmptyDir"] = "PersistentVolumeClaim"
    size: str = "1Gi"
    storage_class_name: str | None = None


class DagBundle(Model):
    """One of `spec.dagBundles`."""

    name: str
    classpath: str
    arguments: dict[str, Any] = Field(default_factory=dict, alias="kwargs")


class EnvVar(Model):
    """An environment variable; the apiserver checks the source of its value."""

    model_config = ConfigDict(extra="allow")

    name: str


class Template(Model):
    """`spec.template`: the overridable parts of the pod. Unknown names are refused because nothing would use them."""

    model_config = ConfigDict(extra="forbid")

    image: str | None = None
    image_pull_policy: str | None = None
    image_pull_secrets: list[Obj] = Field(default_factory=list)
    env: list[EnvVar] = Field(default_factory=list)
    env_from: list[Obj] = Field(default_factory=list)
    resources: Obj = Field(default_factory=dict)
    volumes: list[Obj] = Field(default_factory=list)
    volume_mounts: list[Obj] = Field(default_factory=list)
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[Obj] = Field(default_factory=list)
    affinity: Obj = Field(default_factory=dict)
    service_account_name: str | None = None

    @model_validator(mode="after")
    def _reserved_names(self) -> Self:
        for variable in self.env:
            if variable.name.startswith("EDGE_WORKER_"):
                raise ValueError(f"env {variable.name}: the operator sets all EDGE_WORKER_ variables")
        for kind, given in (("labels", self.labels), ("annotations", self.annotations)):
            for key in given:
                if key.startswith(f"{names.GROUP}/") or key == names.MANAGED_BY_LABEL:
                    raise ValueError(f"{kind} {key}: this name is reserved for the operator")
        return self


class WorkerSpec(Model):
    """`EdgeWorker.spec`."""

    mode: Literal["Managed", "External"] = "Managed"
    worker_name: WorkerName | None = None
    team: str | None = None
    queues: list[QueueName] | None = Field(default=None, min_length=1)
    concurrency: int | None = Field(default=None, ge=1, le=CONCURRENCY_MAX)
    drain_timeout_seconds: int = Field(default=3600, ge=0)
    outage_tolerance_seconds: int | None = Field(default=None, ge=0, le=OUTAGE_TOLERANCE_MAX_S)
    maintenance: Maintenance = Maintenance()
    spool: Spool = Spool()
    dag_bundles: list[DagBundle] = Field(default_factory=list)
    template: Template = Template()


class Autoscaling(Model):
    """`EdgeWorkerPool.spec.autoscaling`."""

    min_replicas: int = Field(default=0, ge=0)
    max_replicas: int = Field(ge=1)
    target_slot_utilization: int = Field(default=80, ge=1, le=100)
    scale_up_stabilization_seconds: int = Field(default=0, ge=0)
    scale_down_stabilization_seconds: int = Field(default=300, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("minReplicas is above maxReplicas")
        return self


class Rollout(Model):
    """`EdgeWorkerPool.spec.rollout`; percentages refer to the desired number of workers."""

    max_unavailable: int | str = 1
    max_surge: int | str = 0


class PoolTemplateMetadata(Model):
    """`EdgeWorkerPool.spec.template.metadata`."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class PoolTemplate(Model):
    """`EdgeWorkerPool.spec.template`; `spec` goes to the EdgeWorkers as written."""

    metadata: PoolTemplateMetadata = PoolTemplateMetadata()
    spec: Obj = Field(default_factory=dict)


class PoolSpec(Model):
    """`EdgeWorkerPool.spec`."""

    replicas: int = Field(default=1, ge=0)
    autoscaling: Autoscaling | None = None
    rollout: Rollout = Rollout()
    template: PoolTemplate = PoolTemplate()


@dataclass(frozen=True, slots=True)
class Meta:
    """The parts of an object's metadata that the operator uses."""

    namespace: str
    name: str
    uid: str
    generation: int
    created: str
    deleted_at: datetime | None
    labels: dict[str, str]
    annotations: dict[str, str]
    finalizers: list[str]
    owner_uid: str | None
    """uid of the controlling owner, if any."""


def read_meta(obj: Obj) -> Meta:
    """Return the metadata of an object that the apiserver returned."""
    meta = obj["metadata"]
    owners = [owner["uid"] for owner in meta.get("ownerReferences") or [] if owner.get("controller")]
    return Meta(
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        uid=meta.get("uid", ""),
        generation=meta.get("generation", 0),
        created=meta.get("creationTimestamp", ""),
        deleted_at=read_timestamp(meta.get("deletionTimestamp")),
        labels=dict(meta.get("labels") or {}),
        annotations=dict(meta.get("annotations") or {}),
        finalizers=list(meta.get("finalizers") or []),
        owner_uid=owners[0] if owners else None,
    )


@dataclass(frozen=True, slots=True)
class EdgeWorker:
    """An EdgeWorker. Its spec is parsed separately: an invalid spec must not prevent a deletion."""

    meta: Meta
    raw_spec: Obj
    status: Obj

    @property
    def mode(self) -> str:
        """Return the mode, even if another field of the spec is invalid."""
        return str(self.raw_spec.get("mode", "Managed"))

    @property
    def managed(self) -> bool:
        """Return whether the operator runs the worker's pod."""
        return self.mode == "Managed"

    @property
    def discovered(self) -> bool:
        """Return whether the operator created this object for a worker that enrolled without one."""
        return names.DISCOVERED_LABEL in self.meta.labels

    @property
    def worker_name(self) -> str:
        """Return the worker's name in the fleet. The first one stays: a name can't be changed."""
        return str(self.status.get("workerName") or self.raw_spec.get("workerName") or self.meta.name)

    @property
    def child_name(self) -> str:
        """Return the name of its StatefulSet, Secret, claim and service account."""
        return names.child_name(self.meta.name)

    @property
    def pool(self) -> str | None:
        """Return the name of the pool it belongs to."""
        return self.meta.labels.get(names.POOL_LABEL) if self.meta.owner_uid else None

    def spec(self) -> WorkerSpec:
        """Return the spec.

        Raises:
            SpecError: a field is invalid.

        """
        spec = _read(WorkerSpec, self.raw_spec)
        desired = spec.worker_name or self.meta.name
        if desired != self.worker_name:
            raise SpecError(
                f"workerName: can't be changed from {self.worker_name!r}; create another EdgeWorker for {desired!r}"
            )
        return spec


@dataclass(frozen=True, slots=True)
class EdgeWorkerPool:
    """An EdgeWorkerPool."""

    meta: Meta
    raw_spec: Obj
    status: Obj

    def spec(self) -> PoolSpec:
        """Return the spec, after checking the spec of its workers too.

        Raises:
            SpecError: a field is invalid.

        """
        if len(self.meta.name) > names.POOL_NAME_MAX or not re.match(
            r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", self.meta.name
        ):
            raise SpecError(f"metadata.name: use at most {names.POOL_NAME_MAX} letters, digits and '-'")
        spec = _read(PoolSpec, self.raw_spec)
        for field in ("mode", "workerName"):
            if field in spec.template.spec:
                raise SpecError(f"template.spec.{field}: can't be set in a pool")
        try:
            _read(WorkerSpec, spec.template.spec)
        except SpecError as error:
            raise SpecError(f"template.spec.{error}") from error
        return spec


def read_worker(obj: Obj) -> EdgeWorker:
    """Return an EdgeWorker from its JSON."""
    return EdgeWorker(read_meta(obj), obj.get("spec") or {}, obj.get("status") or {})


def read_pool(obj: Obj) -> EdgeWorkerPool:
    """Return an EdgeWorkerPool from its JSON."""
    return EdgeWorkerPool(read_meta(obj), obj.get("spec") or {}, obj.get("status") or {})


def _read(model: type[M], value: Obj) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "spec"
        message = "is not a known field" if first["type"] == "extra_forbidden" else first["msg"]
        raise SpecError(f"{where}: {message}") from error
