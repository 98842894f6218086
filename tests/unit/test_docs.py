"""The documentation: its links lead somewhere, and its indexes are complete."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "docs/adr", "examples", "worker_image", "chart")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))])

HISTORY = ROOT / "docs" / "adr"
BASES = (
    ROOT,
    ROOT / "docs",
    ROOT / "worker_image" / "src" / "edge_worker",
    ROOT / "operator" / "src" / "edge_operator",
    *ROOT.glob("*/src"),
)
"""Folders to which pages name files relatively; the last ones hold the packages."""

NAMED_FILE = re.compile(r"`([\w./@-]+/[\w.@-]+\.(?:py|yaml|yml|md|sh|json|toml|txt|ps1|env))`")
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def text(page: Path) -> str:
    return CODE_BLOCK.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in HEADING.findall(text(page))
    }


def targets(page: Path) -> set[Path]:
    return {(page.parent / path).resolve() for path, _ in LINK.findall(text(page)) if path}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(text(page)):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent != HISTORY], ids=lambda page: str(page.relative_to(ROOT))
)
def test_files_that_are_named_exist(page: Path) -> None:
    named = {name for name in NAMED_FILE.findall(text(page)) if not name.startswith("/")}
    assert {name for name in named if not any((base / name).exists() for base in BASES)} == set()


def test_the_index_lists_every_page() -> None:
    listed = targets(ROOT / "docs" / "README.md")
    unlisted = {page for page in (ROOT / "docs").glob("*.md") if page.name != "README.md"} - listed
    assert unlisted == set()


def test_the_decisions_are_listed_with_their_numbers() -> None:
    index = (HISTORY / "README.md").read_text()
    pages = {page.name for page in HISTORY.glob("[0-9]*.md")}
    listed = dict(re.findall(r"^\| \[(\d{4})\]\(([^)]+)\)", index, re.MULTILINE))
    assert set(listed.values()) == pages
    assert all(name.startswith(number) for number, name in listed.items())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_make_exist(page: Path) -> None:
    known = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE)) <= known
