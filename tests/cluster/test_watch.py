"""A watch reports all changes, even across watches that the apiserver ends. Its kubectl prints the content of files."""

import json
import sys
from pathlib import Path
from queue import Queue

from edge_testing.kubernetes.api import Obj
from edge_testing.kubernetes.watch import Watch

KUBECTL = """
import signal
import sys
from pathlib import Path
arguments = sys.argv[1:]
folder = Path(arguments[0])
what = "events" if "?watch=true&resourceVersion=" in arguments[3] else "list"
if what == "list":
    assert arguments[1:4] == ["get", "--raw", "/api/v1/pods"]
rounds = folder / f"{what}s"
number = len(rounds.read_text()) if rounds.exists() else 0
rounds.write_text("x" * (number + 1))
answer = folder / f"{what}-{number}"
if not answer.exists():
    sys.exit(1)
print(answer.read_text(), flush=True)
if "ERROR" in answer.read_text():
    signal.pause()
"""
WAIT_S = 30


def _pod(name: str, phase: str = "Pending") -> Obj:
    return {"metadata": {"uid": name}, "phase": phase}


def test_changes_and_lists_follow_each_other(tmp_path: Path) -> None:
    def says(what: str, *answers: Obj) -> None:
        (tmp_path / what).write_text("\n".join(json.dumps(answer) for answer in answers))

    def event(kind: str, found: Obj) -> Obj:
        return {"type": kind, "object": found}

    version = {"metadata": {"resourceVersion": "5"}}
    says("list-0", {**version, "items": [_pod("a"), _pod("b")]})
    says("events-0", event("ADDED", _pod("c")), event("MODIFIED", _pod("a", "Running")), event("DELETED", _pod("b")))
    # In between, c was deleted without an event. The next list fails at first.
    says("list-2", {**version, "items": [_pod("a", "Running")]})
    # This watch does not end by itself.
    says("events-1", event("ERROR", {"code": 410}))
    says("list-3", {**version, "items": [_pod("d")]})
    reported: Queue[list[Obj]] = Queue()
    program = tmp_path / "kubectl.py"
    program.write_text(KUBECTL)
    with Watch([sys.executable, str(program), str(tmp_path)], "/api/v1/pods", reported.put):
        found = [{one["metadata"]["uid"]: one["phase"] for one in reported.get(timeout=WAIT_S)} for _ in range(6)]
    assert found == [
        {"a": "Pending", "b": "Pending"},
        {"a": "Pending", "b": "Pending", "c": "Pending"},
        {"a": "Running", "b": "Pending", "c": "Pending"},
        {"a": "Running", "c": "Pending"},
        {"a": "Running"},
        {"d": "Pending"},
    ]
