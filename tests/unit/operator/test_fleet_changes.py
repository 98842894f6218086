"""The changes that are sent to the edge API, and what is left alone."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from edge_operator.api.types import SpecError
from edge_operator.desired.fleet_changes import NOT_YET, fleet_changes, shutdown_to_keep
from edge_operator.desired.worker_status import differs, minor
from edge_operator.desired.workload import PodDefaults, pod_template
from edge_operator.fleet.observed import ServerEvent, read_events
from edge_operator.kube.client import merge_patch
from edge_protocol.worker_state import WorkerState
from edge_testing.operator.builders import make_view, make_worker

ANNOTATION = "airflow-edge.io/maintenance"
DEFAULTS = PodDefaults("image:1", "http://api", 45)


@pytest.mark.parametrize(
    ("desired", "requested", "observed", "enter", "leave"),
    [
        ("a", None, None, "a", False),
        ("a", NOT_YET, None, "a", False),
        ("a", NOT_YET, "theirs", "a", False),
        ("a", "a", "a", None, False),
        # Changed or ended elsewhere.
        ("a", "a", "theirs", None, False),
        ("a", "a", None, "a", False),
        ("b", "a", "a", "b", False),
        (None, "a", "a", None, True),
        (None, None, "theirs", None, False),
        (None, "a", None, None, False),
    ],
)
def test_maintenance(
    desired: str | None, requested: str | None, observed: str | None, enter: str | None, leave: bool
) -> None:
    annotations = {ANNOTATION: desired} if desired is not None else {}
    status = {"requestedMaintenance": requested} if requested is not None else {}
    worker = make_worker(annotations=annotations, status=status)
    changes = fleet_changes(worker, worker.spec(), make_view(comment=observed))
    assert changes.enter == enter
    assert changes.exit == leave


def test_with_an_invalid_spec_the_annotation_still_counts_and_nothing_is_ended() -> None:
    enters = make_worker(annotations={ANNOTATION: "a"})
    assert fleet_changes(enters, None, make_view()).enter == "a"
    requested = make_worker(status={"requestedMaintenance": "a"})
    changes = fleet_changes(requested, None, make_view(comment="a"))
    assert not changes.any
    assert changes.requested == "a"


@pytest.mark.parametrize(
    ("mode", "annotated", "requested", "shutdown", "change", "keep"),
    [
        # Requested by the annotation.
        ("External", True, False, False, True, False),
        ("External", True, True, True, None, False),
        ("External", False, True, True, False, False),
        ("Managed", True, True, False, None, False),
        # Requested elsewhere: a Managed worker stays down, an External one belongs to its owner.
        ("Managed", False, False, True, None, True),
        ("External", False, False, True, None, False),
        # The annotation was removed before the worker carried out the request.
        ("Managed", False, True, True, False, False),
        ("Managed", False, False, False, None, False),
    ],
)
def test_shutdown(mode: str, annotated: bool, requested: bool, shutdown: bool, change: bool | None, keep: bool) -> None:
    annotations = {"airflow-edge.io/shutdown": "true"} if annotated else {}
    status = {"requestedShutdown": True} if requested else {}
    worker = make_worker(mode=mode, annotations=annotations, status=status)
    view = make_view(shutdown=shutdown)
    assert fleet_changes(worker, worker.spec(), view).shutdown == change
    assert shutdown_to_keep(worker, view) == keep


def test_queues_and_slots_follow_the_spec_and_are_requested_once() -> None:
    worker = make_worker(queues=["paint"], concurrency=4)
    patch = fleet_changes(worker, worker.spec(), make_view()).patch
    assert patch is not None
    assert patch.model_dump(exclude_unset=True) == {
        "concurrency": 4,
        "add_queues": ["paint"],
        "remove_queues": ["press"],
    }
    asked = make_view(queues_added=["paint"], queues_removed=["press"], concurrency_override=4)
    assert fleet_changes(worker, worker.spec(), asked).patch is None
    silent = make_worker()
    assert fleet_changes(silent, silent.spec(), make_view()).patch is None


def test_shutdown_is_requested_of_a_live_external_worker_only() -> None:
    asked = {"airflow-edge.io/shutdown": "now"}
    external = make_worker(mode="External", annotations=asked)
    assert fleet_changes(external, external.spec(), make_view()).shutdown is True
    assert fleet_changes(external, external.spec(), make_view(state=WorkerState.OFFLINE)).shutdown is None
    managed = make_worker(annotations=asked)
    assert fleet_changes(managed, managed.spec(), make_view()).shutdown is None
    back = make_worker(mode="External", status={"requestedShutdown": True})
    assert fleet_changes(back, back.spec(), make_view(shutdown=True)).shutdown is False


def test_live_changes_keep_the_hash_and_others_change_it() -> None:
    def digest(**spec: object) -> str:
        worker = make_worker(**spec)  # type: ignore[arg-type]
        template = pod_template(worker, worker.spec(), DEFAULTS)
        return str(template["metadata"]["annotations"]["airflow-edge.io/template-hash"])

    plain = digest(queues=["a"], concurrency=1)
    assert digest(queues=["b", "c"], concurrency=2) == plain
    assert digest(queues=["a"], concurrency=1, maintenance={"enabled": True}) == plain
    assert digest(queues=["a"], concurrency=1, template={"env": [{"name": "A", "value": "1"}]}) != plain
    assert digest(queues=["a"], concurrency=1, template={"image": "other"}) != plain


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"template": {"imagee": "x"}}, "template.imagee"),
        ({"template": {"env": [{"name": "EDGE_WORKER_NAME", "value": "x"}]}}, "EDGE_WORKER_"),
        ({"template": {"labels": {"airflow-edge.io/pool": "x"}}}, "airflow-edge.io/pool"),
        ({"workerName": "-bad-"}, "workerName"),
    ],
)
def test_invalid_specs_name_the_field(spec: dict[str, object], field: str) -> None:
    with pytest.raises(SpecError, match=field):
        make_worker(**spec).spec()  # type: ignore[arg-type]


def test_minor_changes_of_a_status_are_not_written_at_once() -> None:
    before = {"state": "idle", "lastHeartbeatTime": "2026-11-21T12:00:00Z", "conditions": []}
    later = before | {"lastHeartbeatTime": "2026-11-21T12:05:00Z"}
    assert not differs(before, later, timedelta(seconds=600))
    assert differs(before, later, timedelta(seconds=200))
    assert minor(before, before | {"state": "running"})
    assert not minor(before, before | {"state": "unknown"})
    assert merge_patch({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": 1}}) == {"a": None, "b": {"d": None}}


async def test_server_sent_events_are_parsed() -> None:
    async def lines() -> AsyncIterator[bytes]:
        for line in (
            b": hello",
            b"",
            b"id: 7",
            b"event: worker",
            b"data: {",
            b"data: }",
            b"",
            b"event: ready",
            b"data: {}",
            b"",
        ):
            yield line

    assert [event async for event in read_events(lines())] == [
        ServerEvent("7", "worker", "{\n}"),
        ServerEvent(None, "ready", "{}"),
    ]
