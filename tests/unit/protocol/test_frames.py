"""Reading and writing frames: every frame survives the wire, and invalid input is distinguished from newer input."""

import json
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_protocol import frames
from edge_protocol.job_state import FINISHED_STATES, JobEvent, JobState, next_state
from edge_protocol.limits import QUEUE_NAME_MAX

LEASE = UUID("41eb7590-2c50-4014-acba-780f7c96f676")
HELLO = frames.Hello(worker="plant-7", instance=uuid4(), versions=frames.Versions(worker="1"), concurrency=1)
AGENT_FRAMES = [
    HELLO,
    frames.Heartbeat(free_slots=1, jobs_active=0, sysinfo={"load1": 0.5}),
    frames.Accept(lease_id=LEASE),
    frames.Report(lease_id=LEASE, outcome="failed", exit_code=-9, error="killed"),
    frames.Log(lease_id=LEASE, offset=7, data=b"\xff\x00 binary"),
    frames.Bye(),
]
SERVER_FRAMES = [
    frames.Welcome(protocol=2, session_id=uuid4(), heartbeat_interval_s=10, log_chunk_bytes=1, log_window_bytes=1),
    frames.Job(lease_id=LEASE, job_id=uuid4(), kind="task", slots=1, log_path="a/b.log", workload="{}"),
    frames.DesiredFrame(version=1, queues=["default"], concurrency=1),
    frames.Cancel(lease_id=LEASE, reason="revoked"),
    frames.Ack(of="log", lease_id=LEASE, offset=3),
    frames.Fenced(lease_id=LEASE, reason="lost"),
    frames.Error(code="x", message="y"),
]


@pytest.mark.parametrize("frame", AGENT_FRAMES, ids=lambda frame: frame.type)
def test_agent_frames_survive_the_wire(frame: frames.AgentFrame) -> None:
    assert frames.parse_agent_frame(frame.model_dump_json()) == frame


@pytest.mark.parametrize("frame", SERVER_FRAMES, ids=lambda frame: frame.type)
def test_server_frames_survive_the_wire(frame: frames.ServerFrame) -> None:
    assert frames.parse_server_frame(frame.model_dump_json()) == frame


@given(st.binary(max_size=500), st.integers(min_value=0, max_value=2**40))
def test_any_bytes_survive_in_a_log_frame(data: bytes, offset: int) -> None:
    frame = frames.Log(lease_id=LEASE, offset=offset, data=data)
    assert frames.parse_agent_frame(frame.model_dump_json()) == frame


def test_unknown_types_are_skipped_and_unknown_fields_ignored() -> None:
    assert frames.parse_agent_frame('{"type": "from_the_future", "x": 1}') is None
    assert frames.parse_agent_frame('{"type": "bye", "x": 1}') == frames.Bye()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "frame"),
        ("[]", "frame"),
        ("{}", "type"),
        ('{"type": "accept", "lease_id": "no"}', "lease_id"),
        ('{"type": "log", "lease_id": "' + str(LEASE) + '", "offset": -1, "data": ""}', "offset"),
        (json.dumps({**json.loads(HELLO.model_dump_json()), "concurrency": 0}), "concurrency"),
        (json.dumps({**json.loads(HELLO.model_dump_json()), "queues": ["q" * (QUEUE_NAME_MAX + 1)]}), "queues"),
        (json.dumps({**json.loads(HELLO.model_dump_json()), "worker": "../etc"}), "worker"),
        (json.dumps({**json.loads(HELLO.model_dump_json()), "worker": ""}), "worker"),
    ],
)
def test_bad_frames_name_the_field_and_not_the_value(text: str, names: str) -> None:
    with pytest.raises(frames.FrameError, match=names) as caught:
        frames.parse_agent_frame(text)
    assert "etc" not in str(caught.value)


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_no_input_raises_anything_else(data: bytes | str) -> None:
    with suppress(frames.FrameError):
        frames.parse_agent_frame(data)


def test_workload_is_not_in_the_repr() -> None:
    job = frames.Job(lease_id=LEASE, job_id=LEASE, kind="task", slots=1, log_path=None, workload="secret-token")
    assert "secret-token" not in repr(job)


@pytest.mark.parametrize(("theirs", "chosen"), [((2, 2), 2), ((1, 9), 2), ((3, 9), None), ((0, 1), None)])
def test_choose_protocol(theirs: tuple[int, int], chosen: int | None) -> None:
    assert frames.choose_protocol(*theirs) == chosen


@given(st.lists(st.sampled_from(JobEvent), max_size=30))
def test_job_runs_keep_the_rules(events: list[JobEvent]) -> None:
    """A finished job changes only by a new enqueue, and nothing runs that was not leased before."""
    state = JobState.QUEUED
    for event in events:
        after = next_state(state, event)
        if after is None:
            continue
        if state in FINISHED_STATES:
            assert event is JobEvent.ENQUEUE
        if after is JobState.RUNNING:
            assert state in (JobState.LEASED, JobState.RUNNING)
        state = after


@pytest.mark.parametrize("sysinfo", [{"x" * 129: 1}, {"x": "y" * 129}, {str(number): 1 for number in range(65)}])
def test_system_information_is_bounded(sysinfo: dict[str, Any]) -> None:
    text = json.dumps({"type": "heartbeat", "free_slots": 1, "jobs_active": 0, "sysinfo": sysinfo})
    with pytest.raises(frames.FrameError, match="sysinfo"):
        frames.parse_agent_frame(text)
