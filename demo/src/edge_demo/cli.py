"""`airflow-edge-demo`: a real Airflow, an edge API and edge workers on this machine, and DAGs that run on them."""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import httpx

from edge_demo import report, runs
from edge_demo.platform import Platform, PlatformSpec, WorkerSpec
from edge_demo.processes import ProcessError
from edge_protocol.limits import CONCURRENCY_MAX
from edge_provider.ui import STATIC

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "dags"
LOG_LINES = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return 0 only if every run ended as its DAG declares."""
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _demo(arguments)
    except KeyboardInterrupt:
        print("\nInterrupted; everything is stopped.", file=sys.stderr)
        return 130
    except (runs.RunError, ProcessError, TimeoutError, httpx.HTTPError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="airflow-edge-demo", description=__doc__)
    parser.add_argument("--dags", type=_folder, default=EXAMPLES, metavar="DIR", help="folder with DAG files")
    parser.add_argument("--dag", action="append", default=[], metavar="ID", help="run only this DAG (repeatable)")
    parser.add_argument("--workers", type=_count, default=1, metavar="N", help="edge workers to start (default 1)")
    parser.add_argument("--concurrency", type=_count, default=8, metavar="N", help="slots of each worker (default 8)")
    parser.add_argument(
        "--timeout", type=_seconds, default=600, metavar="S", help="seconds that the runs may take (default 600)"
    )
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to a file")
    return parser


def _count(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= CONCURRENCY_MAX:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number from 1 to {CONCURRENCY_MAX}")
    return int(value)


def _seconds(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of seconds from 1")
    return int(value)


def _folder(value: str) -> Path:
    folder = Path(value).resolve()
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{value!r} is not a folder")
    return folder


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Screen:
    """Lines with the time since the start; progress overwrites itself where the output is a terminal."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._progress = ""

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        self._clear()
        print(f"{self.elapsed_s:5.1f} s  {text}", flush=True)

    def progress(self, states: Counter[str]) -> None:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if state != "none")
        text = f"         tasks: {counts or 'none yet'}"
        if text == self._progress:
            return
        self._clear()
        self._progress = text
        print(text, end="" if sys.stdout.isatty() else "\n", flush=True)

    def _clear(self) -> None:
        if self._progress and sys.stdout.isatty():
            print("\r" + " " * len(self._progress) + "\r", end="")
        self._progress = ""


def _demo(arguments: argparse.Namespace) -> int:
    screen = _Screen()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="airflow-edge-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        workers = [WorkerSpec(f"worker-{n + 1}", concurrency=arguments.concurrency) for n in range(arguments.workers)]
        spec = PlatformSpec(dags=arguments.dags, workers=workers)
        platform = stack.enter_context(Platform(folder, spec, lambda part: screen.say(f"starting {part}")))
        screen.say(f"{', '.join(worker.name for worker in workers)} online: connected outwards to the edge API")
        good = _run(platform, arguments, screen)
        if arguments.keep:
            _keep(platform)
        screen.say("stopping everything")
    return 0 if good else 1


def _run(platform: Platform, arguments: argparse.Namespace, screen: _Screen) -> bool:
    dag_ids = runs.choose_dags(platform, arguments.dag)
    began = time.monotonic()
    started = runs.start(platform, dag_ids)
    screen.say(f"running {', '.join(dag_ids)}")
    try:
        states = runs.watch(platform, started, screen.progress, arguments.timeout)
    except (KeyboardInterrupt, runs.RunError):
        # What has run so far is worth seeing, above all when something takes too long.
        screen.say("the runs have not ended")
        print(f"\n{report.table(runs.results(platform, started))}\n", flush=True)
        raise
    wall_s = time.monotonic() - began
    screen.say(f"all runs ended {wall_s:.1f} s after the first was triggered")
    tasks = runs.results(platform, started)
    print(f"\n{report.table(tasks)}\n")
    _show_log(platform, tasks)
    verdicts = report.verdicts(states)
    for good, text in verdicts:
        print(f"{'ok ' if good else 'BAD'}  {text}")
    print()
    if arguments.json:
        arguments.json.write_text(json.dumps(report.document(states, tasks, wall_s), indent=2) + "\n")
    return all(good for good, _ in verdicts)


def _show_log(platform: Platform, tasks: Sequence[runs.TaskResult]) -> None:
    """Print the end of one task's log, read like Airflow's web UI reads it."""
    ran = [task for task in tasks if task.try_number]
    if not ran:
        return
    # Prefer a mapped task, whose log is hard to find otherwise.
    task = max(ran, key=lambda one: (one.state == "success", one.map_index))
    entries = platform.airflow.log_entries(task.dag_id, task.run_id, task.task_id, task.try_number, task.map_index)
    printed = [entry for entry in entries if entry.get("logger") == "task.stdout"]
    print(f"Log of {task.dag_id}.{task.name} on {task.worker or 'no worker'}, read through Airflow's REST API:")
    for entry in (printed or entries)[-LOG_LINES:]:
        print(f"  | {entry['event']}")
    print()


def _keep(platform: Platform) -> None:
    """Wait for Ctrl-C."""
    print(f"Airflow   {platform.airflow_url}  (no login: everyone who can reach it is an admin)")
    if STATIC.is_dir():
        print(f"fleet     {platform.fleet_page_url}")
    else:
        print("fleet     no page in Airflow's UI: it was not built, see the output of make setup")
    print(f"edge API  {platform.edge_api_urls[0]}/metrics")
    print(f"logs      {platform.folder}")
    print("Ctrl-C stops everything.", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
