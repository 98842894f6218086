"""Tokens, desired state, the brake on failures, log merging and the outbox."""

import json
import logging
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_api.database.storable import storable_values
from edge_api.fleet.desired import DesiredState, effective_concurrency, effective_queues
from edge_api.frames.log import merge, unstored_rest
from edge_api.held_bytes import HeldBytes
from edge_api.identity import tokens
from edge_api.identity.authenticator import FAILURES_BURST, FailureBrake
from edge_api.metrics import Metrics
from edge_api.sessions.session import FRAMES_MOST, Outbox
from edge_protocol.frames import Ack, parse_server_frame
from edge_protocol.json_logs import JsonLines
from edge_store.jobs.logs import LogChunk

LEASE = UUID("6e1a6b62-57f8-4b0e-8dc6-4bd6c4e1b2ab")


@pytest.mark.parametrize("kind", [tokens.CREDENTIAL, tokens.JOIN_TOKEN])
def test_a_token_reads_back_as_itself(kind: tokens.Kind) -> None:
    made = tokens.mint(kind)
    again = tokens.parse(made.text, kind)
    assert again == made
    assert made.matches(made.digest)
    assert not made.matches(tokens.mint(kind).digest)
    assert made.secret not in repr(made)


def test_a_token_is_of_one_kind() -> None:
    made = tokens.mint(tokens.JOIN_TOKEN)
    assert tokens.parse(made.text, tokens.CREDENTIAL) is None


@given(st.text())
def test_any_other_text_is_no_token(text: str) -> None:
    assert tokens.parse(text, tokens.CREDENTIAL) is None
    assert tokens.parse(tokens.mint(tokens.CREDENTIAL).text + text + "\n", tokens.CREDENTIAL) is None


@pytest.mark.parametrize(
    ("asked", "granted", "added", "removed", "expected"),
    [
        (None, None, (), (), {"default"}),
        (["a"], None, (), (), {"a"}),
        (None, ("a", "b"), (), (), {"a", "b"}),
        (["a", "x"], ("a", "b"), (), (), {"a"}),
        ([], ("a",), (), (), set()),
        (["a"], ("a", "b"), ("c",), ("a",), {"c"}),
        (None, ("a",), ("c",), ("c", "a"), set()),
    ],
)
def test_effective_queues(
    asked: list[str] | None,
    granted: tuple[str, ...] | None,
    added: tuple[str, ...],
    removed: tuple[str, ...],
    expected: set[str],
) -> None:
    assert effective_queues(asked, granted, DesiredState(queues_added=added, queues_removed=removed)) == expected


def test_effective_concurrency() -> None:
    assert effective_concurrency(4, DesiredState()) == 4
    assert effective_concurrency(4, DesiredState(concurrency=1)) == 1


def test_the_brake_holds_an_address_that_fails_and_lets_go() -> None:
    brake = FailureBrake()
    for _ in range(int(FAILURES_BURST)):
        assert not brake.exhausted("a", 0)
        brake.failed("a", 0)
    assert brake.exhausted("a", 0)
    assert not brake.exhausted("b", 0)
    assert not brake.exhausted("a", 1)


def test_the_brake_is_bounded() -> None:
    brake = FailureBrake()
    for number in range(20_000):
        brake.failed(str(number), 0)
    assert len(brake._buckets) == 10_000


def chunk(start: int, data: bytes, lease: UUID = LEASE, skipped: int = 0) -> LogChunk:
    return LogChunk(lease, "w1", start, skipped, data)


def test_adjacent_chunks_are_merged() -> None:
    other = uuid4()
    chunks = [chunk(0, b"ab"), chunk(0, b"x", other), chunk(2, b"cd"), chunk(9, b"z"), chunk(10, b"", LEASE)]
    runs = merge(chunks)
    assert [(run.chunk.start, run.chunk.data, run.members) for run in runs] == [
        (0, b"abcd", [0, 2]),
        (0, b"x", [1]),
        (9, b"z", [3]),
        (10, b"", [4]),
    ]


@given(st.lists(st.tuples(st.integers(0, 30), st.binary(max_size=8), st.integers(0, 3)), max_size=12))
def test_merging_loses_nothing(parts: list[tuple[int, bytes, int]]) -> None:
    chunks = [chunk(start, data, skipped=skipped) for start, data, skipped in parts]
    runs = merge(chunks)
    assert sorted(member for run in runs for member in run.members) == list(range(len(chunks)))
    for run in runs:
        assert run.chunk.data == b"".join(chunks[member].data for member in run.members)
        assert run.chunk.start == chunks[run.members[0]].start


@given(st.integers(0, 20), st.binary(max_size=10), st.integers(0, 40))
def test_the_rest_of_an_overlap_continues_the_log(start: int, data: bytes, end: int) -> None:
    rest = unstored_rest(chunk(start, data), end)
    if rest is None:
        assert end <= start or end >= start + len(data)
    else:
        assert (rest.start, rest.data) == (end, data[end - start :])


async def test_an_outbox_is_bounded_and_can_be_closed() -> None:
    held = HeldBytes(1 << 10, Metrics())
    outbox = Outbox(held)
    ack = Ack(of="report", lease_id=LEASE)
    assert all(outbox.put(ack) for _ in range(FRAMES_MOST))
    assert not outbox.put(ack)
    assert held.full
    outbox.close()
    assert held.fits(1 << 10)
    assert outbox.put(ack)
    frames = outbox.take()
    assert len(frames) == FRAMES_MOST
    assert parse_server_frame(frames[0]) == ack
    assert (outbox.ready, outbox.take()) == (True, [])


def test_sysinfo_is_what_json_in_postgres_holds() -> None:
    values: dict[str, float | int | str | None] = {
        "nan": float("nan"),
        "inf": float("inf"),
        "a\x00": "b\x00",
        "ok": 1.5,
        "none": None,
    }
    assert storable_values(values) == {"a\ufffd": "b\ufffd", "ok": 1.5, "none": None}


def test_log_lines_are_json_with_their_fields() -> None:
    record = logging.makeLogRecord({"msg": "hello %s", "args": ("you",), "levelname": "INFO", "worker": LEASE})
    line = json.loads(JsonLines().format(record))
    assert (line["message"], line["level"], line["worker"]) == ("hello you", "info", str(LEASE))
