"""However a log is cut into chunks, the lines are the same."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_provider.log_lines import LineSplitter

TEXTS = st.text(alphabet=st.sampled_from("ab\n\réß€😀"), max_size=60)


def split(chunks: list[bytes]) -> list[str]:
    splitter, start, lines = LineSplitter(), 0, []
    for chunk in chunks:
        lines += splitter.feed(start, chunk)
        start += len(chunk)
    return lines + splitter.flush()


@given(TEXTS, st.lists(st.integers(0, 200), max_size=8))
def test_chunks_do_not_matter(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[a:b] for a, b in pairwise(edges) if a < b]
    expected = text.split("\n")
    if expected[-1] == "":
        expected.pop()
    assert split(chunks) == expected


def test_half_a_line_is_held_back_until_it_is_whole() -> None:
    splitter = LineSplitter()
    assert splitter.feed(0, b"one\ntw") == ["one"]
    assert splitter.feed(6, b"o\n") == ["two"]
    assert splitter.flush() == []


def test_dropped_bytes_end_a_line() -> None:
    splitter = LineSplitter()
    assert splitter.feed(0, b"begin") == []
    assert splitter.feed(100, b"after\n") == ["begin", "after"]


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert split([b"\xff\xfe ok\n"]) == ["�� ok"]
