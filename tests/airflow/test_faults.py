"""Real processes are killed while tasks run. Nothing is lost, nothing runs twice."""

import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge_demo.environment import LOCALHOST
from edge_demo.platform import Platform, WorkerSpec
from edge_demo.processes import wait_until

if TYPE_CHECKING:
    from edge_testing.airflow.held_run import HeldRun

TASKS = ["a", "b", "c"]
LOST_WITHIN_S = 45.0


def test_edge_api_killed_and_restarted(platform: Platform, hold: "Callable[..., HeldRun]") -> None:
    run = hold()
    run.wait_for("start", TASKS)
    api = platform.processes["edge-api-0"]
    api.kill()
    before = time.monotonic()
    run.release()
    run.wait_for("end", TASKS)  # the tasks end while no API can take their reports
    assert not api.running
    assert time.monotonic() > before
    api.start()
    platform.wait_edge_api()
    assert run.finish() == "success"
    run.assert_ran_once_with_whole_log(TASKS)
    wait_until(lambda: {job.state for job in run.jobs()} == {"succeeded"}, "reports have arrived", 30)


def test_tasks_run_on_through_an_api_restart(platform: Platform, hold: "Callable[..., HeldRun]") -> None:
    run = hold()
    run.wait_for("start", TASKS)
    api = platform.processes["edge-api-0"]
    api.kill()
    api.start()
    platform.wait_edge_api()
    seen = len(run.log_lines("a"))
    wait_until(lambda: len(run.log_lines("a")) > seen, "the log goes on", 30)
    assert run.finish() == "success"
    run.assert_ran_once_with_whole_log(TASKS)


def test_agent_killed(
    platform: Platform, shared: Path, hold: "Callable[..., HeldRun]", gone: Callable[[int], bool]
) -> None:
    # Without an outage tolerance a job is lost with its worker.
    env = {"TEST_FOLDER": str(shared), "EDGE_WORKER_OUTAGE_TOLERANCE_S": "0"}
    worker = platform.add_worker(WorkerSpec("gamma", ("gamma",), env=env))
    platform.wait_worker("gamma")
    run = hold("hold_gamma")
    run.wait_for("start", ["a"])
    pid = int(run.notes("a", "start")[0][1])
    worker.kill()
    killed = time.monotonic()
    wait_until(lambda: gone(pid), "the task's process ends with its agent", 15)
    wait_until(lambda: run.jobs()[0].state == "lost", "the job is lost", LOST_WITHIN_S)
    assert time.monotonic() - killed <= LOST_WITHIN_S
    assert run.jobs()[0].error.startswith("edge worker gamma lost at ")
    worker.start()
    run.wait_for("start", ["a"], times=2, timeout_s=30)
    assert run.finish() == "success"
    assert [start[0] for start in run.notes("a", "start")] == ["1", "2"]
    assert [end[0] for end in run.notes("a", "end")] == ["2"]


def test_worker_asked_to_stop_finishes_its_task(
    platform: Platform, shared: Path, hold: "Callable[..., HeldRun]"
) -> None:
    worker = platform.add_worker(WorkerSpec("epsilon", ("delta",), env={"TEST_FOLDER": str(shared)}))
    platform.wait_worker("epsilon")
    run = hold("hold_delta")
    run.wait_for("start", ["a"])
    worker.signal(signal.SIGTERM)
    terminating = "SELECT 1 FROM edge.worker WHERE name = 'epsilon' AND terminating"
    wait_until(lambda: bool(platform.rows(terminating)), "the worker says that it drains", 10)
    assert worker.running
    assert run.finish() == "success"
    assert worker.wait(30) == 0
    run.assert_ran_once_with_whole_log(["a"])
    assert [job.state for job in run.jobs()] == ["succeeded"]


def test_postgresql_restarted(platform: Platform, hold: "Callable[..., HeldRun]") -> None:
    run = hold()
    run.wait_for("start", TASKS)
    platform.postgres.restart()
    platform.wait_edge_api()  # the same process as before: `wait_edge_api` fails if it has ended
    platform.revive_airflow()
    assert run.finish(each_turn=platform.restart_ended) == "success"
    run.assert_ran_once_with_whole_log(TASKS)


def test_connection_cut_right_after_a_claim(platform: Platform, shared: Path, hold: "Callable[..., HeldRun]") -> None:
    with CuttingProxy(platform.edge_api_urls[0], b'"type":"job"') as proxy:
        env = {"TEST_FOLDER": str(shared), "EDGE_WORKER_API_URL": proxy.url}
        worker = platform.add_worker(WorkerSpec("delta", ("delta",), env=env))
        platform.wait_worker("delta")
        run = hold("hold_delta")
        run.wait_for("start", ["a"])
        assert proxy.cuts == 1
        assert run.finish() == "success"
        run.assert_ran_once_with_whole_log(["a"])
        worker.stop()


class CuttingProxy:
    """A TCP proxy that cuts the first connection on which the server sends certain bytes, and drops these bytes."""

    def __init__(self, target: str, marker: bytes) -> None:
        self._target = (LOCALHOST, int(target.rsplit(":", 1)[1]))
        self._marker = marker
        self._listener = socket.create_server((LOCALHOST, 0))
        self.url = f"http://{LOCALHOST}:{self._listener.getsockname()[1]}"
        self.cuts = 0
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> "CuttingProxy":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._listener)
        self._threads[0].join(10)
        for each in self._sockets:
            _close(each)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target, timeout=10)
                server.settimeout(None)
                self._sockets += [client, server]
                for source, sink, watched in ((client, server, False), (server, client, True)):
                    thread = threading.Thread(target=self._copy, args=(source, sink, watched))
                    self._threads.append(thread)
                    thread.start()

    def _copy(self, source: socket.socket, sink: socket.socket, watched: bool) -> None:
        with ExitStack() as stack, suppress(OSError):
            stack.callback(_close, source)
            stack.callback(_close, sink)
            while data := source.recv(1 << 16):
                if watched and not self.cuts and self._marker in data:
                    self.cuts += 1
                    return
                sink.sendall(data)


def _close(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
