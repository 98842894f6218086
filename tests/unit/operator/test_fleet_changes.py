"""What is asked of the edge API, and what is left alone."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from edge_operator.api.types import SpecError
from edge_operator.desired.fleet_changes import NOT_YET, shutdown_to_keep, wishes
from edge_operator.desired.worker_status import differs, minor
from edge_operator.desired.workload import PodDefaults, pod_template
from edge_operator.fleet.observed import ServerEvent, read_events
from edge_operator.reconcile.status import merge_patch
from edge_protocol.worker_state import WorkerState
from edge_testing.operator.builders import make_view, make_worker

ANNOTATION = "airflow-edge.io/maintenance"
DEFAULTS = PodDefaults("image:1", "http://api", 45)


@pytest.mark.parametrize(
    ("wanted", "requested", "there", "enter", "leave"),
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
    wanted: str | None, requested: str | None, there: str | None, enter: str | None, leave: bool
) -> None:
    annotations = {ANNOTATION: wanted} if wanted is not None else {}
    status = {"requestedMaintenance": requested} if requested is not None else {}
    worker = make_worker(annotations=annotations, status=status)
    wish = wishes(worker, worker.spec(), make_view(comment=there))
    assert wish.enter == enter
    assert wish.exit == leave


@pytest.mark.parametrize(
    ("mode", "annotated", "requested", "shutdown", "wish", "keep"),
    [
        # Asked for at the object.
        ("External", True, False, False, True, False),
        ("External", True, True, True, None, False),
        ("External", False, True, True, False, False),
        ("Managed", True, True, False, None, False),
        # Asked for elsewhere: a managed worker stays down, another one is its owner's.
        ("Managed", False, False, True, None, True),
        ("External", False, False, True, None, False),
        # The annotation was taken away before the worker had followed the request.
        ("Managed", False, True, True, False, False),
        ("Managed", False, False, False, None, False),
    ],
)
def test_shutdown(mode: str, annotated: bool, requested: bool, shutdown: bool, wish: bool | None, keep: bool) -> None:
    annotations = {"airflow-edge.io/shutdown": "true"} if annotated else {}
    status = {"requestedShutdown": True} if requested else {}
    worker = make_worker(mode=mode, annotations=annotations, status=status)
    view = make_view(shutdown=shutdown)
    assert wishes(worker, worker.spec(), view).shutdown == wish
    assert shutdown_to_keep(worker, view) == keep


def test_queues_and_slots_follow_the_spec_and_are_asked_for_once() -> None:
    worker = make_worker(queues=["paint"], concurrency=4)
    patch = wishes(worker, worker.spec(), make_view()).patch
    assert patch is not None
    assert patch.model_dump(exclude_unset=True) == {
        "concurrency": 4,
        "add_queues": ["paint"],
        "remove_queues": ["press"],
    }
    asked = make_view(queues_added=["paint"], queues_removed=["press"], concurrency_override=4)
    assert wishes(worker, worker.spec(), asked).patch is None
    silent = make_worker()
    assert wishes(silent, silent.spec(), make_view()).patch is None


def test_shutdown_is_asked_of_a_live_external_worker_only() -> None:
    asked = {"airflow-edge.io/shutdown": "now"}
    external = make_worker(mode="External", annotations=asked)
    assert wishes(external, external.spec(), make_view()).shutdown is True
    assert wishes(external, external.spec(), make_view(state=WorkerState.OFFLINE)).shutdown is None
    managed = make_worker(annotations=asked)
    assert wishes(managed, managed.spec(), make_view()).shutdown is None
    back = make_worker(mode="External", status={"requestedShutdown": True})
    assert wishes(back, back.spec(), make_view(shutdown=True)).shutdown is False


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
def test_bad_specs_name_the_field(spec: dict[str, object], field: str) -> None:
    with pytest.raises(SpecError, match=field):
        make_worker(**spec).spec()  # type: ignore[arg-type]


def test_status_is_written_for_what_matters() -> None:
    before = {"state": "idle", "lastHeartbeatTime": "2026-11-21T12:00:00Z", "conditions": []}
    later = before | {"lastHeartbeatTime": "2026-11-21T12:05:00Z"}
    assert not differs(before, later, timedelta(seconds=600))
    assert differs(before, later, timedelta(seconds=200))
    assert minor(before, before | {"state": "running"})
    assert not minor(before, before | {"state": "unknown"})
    assert merge_patch({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": 1}}) == {"a": None, "b": {"d": None}}


async def test_server_sent_events_are_read() -> None:
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
