"""Modules that are observed, learned, kept and denied, and the moment for a new template."""

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from edge_worker.runner.observe import ImportObserver, installed_modules
from edge_worker.tasks.learned import (
    IDLE_S,
    MANY_MODULES,
    PATIENCE_S,
    SPACING_S,
    LearnedModules,
    RefreshPolicy,
    common_modules,
)
from edge_worker.tasks.spool import LeaseFolder

SITE = "/usr/lib/python3/site-packages/"


def module(name: str, origin: str | None, *, spec_name: str | None = None) -> ModuleType:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(spec_name or name, None, origin=origin)
    return made


@pytest.mark.parametrize(
    ("name", "origin", "spec_name", "installed"),
    [
        ("pkg.mod", f"{SITE}pkg/mod.py", None, True),
        ("pkg._native", f"{SITE}pkg/_native.so", None, True),
        ("helpers", "/opt/airflow/dags/helpers.py", None, False),
        ("unusual_prefix_0123_dag", "/opt/airflow/dags/dag.py", None, False),
        ("__main__", f"{SITE}pkg/__main__.py", None, False),
        ("alias", f"{SITE}pkg/mod.py", "pkg.mod", False),
        ("_thread", "built-in", None, False),
        ("zipimport", "frozen", None, False),
        ("namespace", None, None, False),
        ("relative", "site-packages/pkg/mod.py", None, False),
    ],
)
def test_only_modules_of_installed_packages_count(
    name: str, origin: str | None, spec_name: str | None, installed: bool
) -> None:
    modules = {name: module(name, origin, spec_name=spec_name)}
    assert installed_modules(modules, [SITE]) == ([name] if installed else [])


def test_modules_without_a_spec_do_not_count() -> None:
    made = ModuleType("made")
    assert installed_modules({"made": made, "odd": None}, [SITE]) == []


def test_observer_writes_down_modules_imported_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observer = ImportObserver()
    observer.folder = LeaseFolder(tmp_path)
    site = next(path for path in sys.path if path.endswith("site-packages"))
    monkeypatch.setitem(sys.modules, "later", module("later", f"{site}/later.py"))
    monkeypatch.setitem(sys.modules, "dag", module("dag", str(tmp_path / "dag.py")))

    def failing_main() -> None:
        raise SystemExit(1)

    with pytest.raises(SystemExit):
        observer.watch(failing_main)()
    assert observer.folder.read_modules() == {"later"}


def test_observer_without_a_task_writes_nothing(tmp_path: Path) -> None:
    observer = ImportObserver()
    observer.note("task")
    observer.folder = LeaseFolder(tmp_path / "gone")
    observer.note("task")
    assert list(tmp_path.iterdir()) == []


def test_learned_modules_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "learned.json"
    learned = LearnedModules(path, common=["json"])
    assert learned.add({"b", "a", "json"}) == 2
    assert learned.add({"a"}) == 0
    learned.deny("a", "starts a thread")
    learned.save()
    again = LearnedModules(path, common=["json"])
    assert again.preload_list() == ["json", "b"]
    assert again.denied == {"a": "starts a thread"}


def test_denial_covers_submodules(tmp_path: Path) -> None:
    learned = LearnedModules(tmp_path / "x", common=[])
    learned.deny("numpy", "starts threads")
    assert learned.add({"numpy.linalg", "numpy", "numpydoc"}) == 1
    assert learned.preload_list() == ["numpydoc"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"modules": 3}', '{"denied": []}', '{"modules": [1, {}]}'])
def test_damaged_list_is_started_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "x").write_text(content)
    learned = LearnedModules(tmp_path / "x", common=["json"])
    assert learned.preload_list()[0] == "json"
    learned.add({"a"})
    learned.save()
    assert "a" in json.loads((tmp_path / "x").read_text())["modules"]


def test_built_in_list_holds_names_of_installed_modules_only() -> None:
    names = common_modules()
    assert len(names) > 100
    assert all(part.isidentifier() for name in names for part in name.split("."))
    assert not [name for name in names if name.startswith(("edge_", "unusual_prefix", "tests"))]


def test_many_new_modules_lead_to_a_template_at_once_but_not_too_often() -> None:
    policy = RefreshPolicy()
    assert policy.due_at() is None
    policy.learned(MANY_MODULES, now=100)
    assert (policy.due_at() or 0) <= 100
    policy.started(100)
    assert policy.due_at() is None
    policy.learned(MANY_MODULES, now=101)
    assert policy.due_at() == 100 + SPACING_S


def test_few_new_modules_wait_until_no_task_runs() -> None:
    policy = RefreshPolicy()
    policy.tasks_running(1, now=0)
    policy.learned(1, now=50)
    assert policy.due_at() == 50 + PATIENCE_S
    policy.tasks_running(0, now=60)
    assert policy.due_at() == 60 + IDLE_S
    policy.tasks_running(2, now=61)
    assert policy.due_at() == 50 + PATIENCE_S


def test_changed_packages_lead_to_one_new_template() -> None:
    policy = RefreshPolicy()
    policy.tasks_running(1, now=0)
    policy.started(now=0)
    policy.packages_changed()
    assert policy.due_at() == SPACING_S
    policy.started(now=SPACING_S)
    assert policy.due_at() is None
