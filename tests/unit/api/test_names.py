"""Which Connection or Variable a call names, however its path is encoded."""

from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_api.execution.names import Named, named

METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
WIRE = st.text("abk/%2e5f61#?*\ufffd", max_size=12)
"""Paths as anybody may write them: encoded never, once, twice or wrongly."""


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "connections/db", Named("connections", "db")),
        ("GET", "connections/my%20db", Named("connections", "my db")),
        ("GET", "connections/keys", Named("connections", "keys")),
        ("GET", "variables/a/b", Named("variables", "a/b")),
        ("GET", "variables/a%2Fb", Named("variables", "a/b")),
        ("PUT", "variables/100%25", Named("variables", "100%")),
        ("GET", "variables/m%C3%BCll", Named("variables", "müll")),
        ("GET", "variables/keys", Named("variables", "*")),
        ("HEAD", "variables/%6Beys", Named("variables", "*")),
        ("PUT", "variables/keys", Named("variables", "keys")),
        ("GET", "variables/keys/x", Named("variables", "keys/x")),
        *(
            ("GET", path, Named("variables", None))
            for path in (
                "variables",
                "variables/",
                "variables//a",
                "variables/a/",
                "variables/a//b",
                "variables/%2Fa",
                "variables/%2561",
                "variables/%FF",
                "variables/a#b",
                "variables/a\ufffd",
            )
        ),
        ("GET", "xcoms/variables/a/b/c", None),
        ("GET", "dags/connections", None),
    ],
)
def test_what_a_path_names(method: str, path: str, found: Named | None) -> None:
    assert named(method, path) == found


@given(name=NAMES, safe=st.sampled_from(["", "/", "/:@!$&'()*+,;="]), method=st.sampled_from(METHODS))
@example(name="a/b", safe="", method="GET")
def test_a_listed_name_passes_whatever_its_encoding(name: str, safe: str, method: str) -> None:
    found = named(method, f"variables/{quote(name, safe=safe)}")
    assert found is not None
    if found.name is not None and found.name != "*":
        assert found.name == name
        for listed in ([name], [f"{name[:1]}*"], ["*"], ["other", name]):
            assert found.allowed(listed) or "*" in name
    assert found.allowed(None)


@given(name=st.text("abcdefghijklmnopqrstuvwxyz_.- äß", min_size=1, max_size=8).filter(lambda name: name != "keys"))
def test_a_usual_name_is_never_ambiguous(name: str) -> None:
    for kind in ("connections", "variables"):
        found = named("GET", f"{kind}/{quote(name)}")
        assert found is not None
        assert (found.name, found.allowed([name]), found.allowed([])) == (name, True, False)


@given(
    path=WIRE, listed=st.lists(st.text("ab/ke5f", min_size=1, max_size=3), max_size=3), method=st.sampled_from(METHODS)
)
@example(path="%2561", listed=["a", "%61"], method="GET")
@example(path="a%23b", listed=["a"], method="GET")
@example(path="a#b", listed=["a#b"], method="GET")
def test_an_unlisted_name_never_passes(path: str, listed: list[str], method: str) -> None:
    """Whoever reads the path, with one or two decodings or without what follows a `#`, sees a listed name."""
    for kind in ("connections", "variables"):
        found = named(method, f"{kind}/{path}")
        assert found is not None
        assert not found.allowed([])
        if found.allowed(listed):
            readings = {
                unquote(path),
                unquote(unquote(path)),
                unquote(path.partition("#")[0]),
                unquote(path).strip("/"),
            }
            assert readings <= set(listed)


@given(path=WIRE, prefix=st.text("ab/", min_size=1, max_size=3))
def test_a_prefix_lets_only_what_begins_with_it_pass(path: str, prefix: str) -> None:
    found = named("GET", f"variables/{path}")
    assert found is not None
    if found.allowed([f"{prefix}*"]):
        assert unquote(path).startswith(prefix)


def test_a_list_of_all_names_needs_the_star() -> None:
    keys = named("GET", "variables/keys")
    assert keys is not None
    assert [keys.allowed(names) for names in (None, ["*"], ["keys"], ["k*"], [])] == [True, True, False, False, False]
    assert str(keys) == "list of all Variables"
