"""The demo command."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edge_demo import runs
from edge_demo.platform import Platform
from edge_demo.processes import wait_until
from edge_testing.airflow.held_run import HeldRun

DEMO = str(Path(sys.executable).parent / "airflow-edge-demo")
TIMEOUT_S = 180


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for the demo, which must leave neither files nor processes."""
    # Not below pytest's own folder, for the same reason as the platform of the other tests.
    with TemporaryDirectory(prefix="airflow-edge-tests-") as name:
        folder = Path(name)
        yield folder
        wait_until(lambda: not processes_of(folder), f"no process of {folder} is left", 15)
        assert list(folder.glob("airflow-edge-demo-*")) == []


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of processes that have a path below the folder in their command or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + b"\0" + (process / "environ").read_bytes()
        except OSError:  # it has just ended
            continue
        if f"{folder}/".encode() in words and int(process.name) != os.getpid():
            found.append(words.split(b"\0\0")[0].decode(errors="replace"))
    return found


def start(scratch: Path, *arguments: str) -> "subprocess.Popen[str]":
    # A shell has its background jobs ignore SIGINT; these tests may run in one.
    return subprocess.Popen(
        ["env", "--default-signal=INT", DEMO, *arguments],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_examples_run_on_edge_workers(scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    results = tmp_path_factory.mktemp("results") / "out.json"
    demo = start(scratch, "--workers", "2", "--concurrency", "4", "--json", str(results))
    output, _ = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 0, output
    assert "night_shift ended in failed, as it should" in output
    assert "  | pressed fender 7 of 7" in output
    document = json.loads(results.read_text())
    assert document["totals"]["runs_as_declared"] == document["totals"]["runs"] == 3
    ran = [task for task in document["tasks"] if task["try_number"]]
    assert {task["worker"] for task in ran} <= {"worker-1", "worker-2"}
    assert all(task["queued_s"] >= 0 and task["duration_s"] >= 0 for task in ran)
    assert set(ran[0]) == {
        "dag_id", "task_id", "map_index", "try_number", "state", "worker", "queued_s", "duration_s"
    }  # fmt: skip


def test_terminated_demo_stops_everything(scratch: Path) -> None:
    demo = start(scratch)
    read_until(demo, "airflow db migrate")
    demo.send_signal(signal.SIGTERM)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, output


ENDLESS = """
import time
from airflow.sdk import dag, task

@dag(schedule=None)
def endless():
    @task
    def first():
        return 1

    @task
    def last(_):
        time.sleep(3600)

    last(first())

endless()
"""


def test_ctrl_c_while_a_task_runs_prints_the_table_and_stops_everything(scratch: Path) -> None:
    dags = scratch / "dags"
    dags.mkdir()
    (dags / "endless.py").write_text(ENDLESS)
    demo = start(scratch, "--dags", str(dags), "--timeout", "900")
    read_until(demo, "tasks: 1 running, 1 success")
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, output
    rows = [line.split() for line in output.splitlines() if line.startswith("endless")]
    assert [(row[1], row[3], row[-1]) for row in rows] == [
        ("first", "worker-1", "success"),
        ("last", "worker-1", "running"),
    ]
    assert output.endswith("Interrupted; everything is stopped.\n")


def test_killed_demo_leaves_no_process(scratch: Path) -> None:
    demo = start(scratch)
    read_until(demo, "starting api-server")
    wait_until(lambda: len(processes_of(scratch)) >= 5, "parts have started", 30)
    demo.kill()
    demo.communicate()
    wait_until(lambda: not processes_of(scratch), "they end with the demo", 30)
    for left in scratch.glob("airflow-edge-demo-*"):  # the killed demo could not delete it
        subprocess.run(["rm", "-r", str(left)], check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--concurrency", "0"], "'0' is not a number from 1 to"),
        (["--workers", "x"], "'x' is not a number from 1 to"),
        (["--timeout", "0"], "'0' is not a number of seconds from 1"),
        (["--dags", "/nowhere"], "'/nowhere' is not a folder"),
    ],
)
def test_bad_options_are_refused_at_once(scratch: Path, arguments: list[str], message: str) -> None:
    demo = start(scratch, *arguments)
    output, _ = demo.communicate(timeout=30)
    assert demo.returncode == 2
    assert message in output


def test_unknown_dag_is_named(platform: Platform) -> None:
    with pytest.raises(runs.RunError, match=r"does not have nothing_like_it\. It has assets, "):
        runs.choose_dags(platform, ["nothing_like_it"])


def test_runs_that_take_too_long_are_named_with_the_option(hold: Callable[..., HeldRun], platform: Platform) -> None:
    held = hold()
    run = runs.Run("hold", held.run_id, "success")
    with pytest.raises(runs.RunError, match=r"Not ended after 1 s: hold\. .*--timeout SECONDS"):
        runs.watch(platform, [run], lambda _: None, 1)
    held.release()


def read_until(demo: "subprocess.Popen[str]", text: str) -> None:
    assert demo.stdout
    for line in demo.stdout:
        if text in line:
            return
    raise AssertionError(f"the demo ended without {text!r}")
