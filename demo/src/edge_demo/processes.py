"""Child processes that never outlive their parent, each with a log file of its own.

Every child leads a process group, which is killed as a whole, and gets a signal from the kernel when the parent dies,
so that even a killed parent leaves none behind.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
POLL_S = 0.1
TAIL_LINES = 40


class ProcessError(Exception):
    """A process ended too soon, or was not ready in time. The message has the end of its log."""


class ManagedProcess:
    """One command, which can be started, stopped, killed and started again."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.env = dict(env)
        self.log = log
        self.cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: list[int] = []

    @property
    def pid(self) -> int:
        """Process id of the current or last run; 0 before the first."""
        return self._process.pid if self._process else 0

    @property
    def returncode(self) -> int | None:
        """Exit code, or None while it runs or has not been started."""
        return self._process.poll() if self._process else None

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; its output is appended to its log.

        Call this from the main thread: the kernel ties the child to the thread that started it.
        """
        if self.running:
            raise ProcessError(f"{self.name} runs already")
        # An interrupt between the fork and the assignment would leak the child.
        with self.log.open("ab") as output, _interrupts_wait():
            self._process = _spawn(self.command, env=self.env, cwd=self.cwd, stdout=output, stderr=subprocess.STDOUT)
            self._groups.append(self._process.pid)

    def check(self) -> None:
        """Raise if the process has ended.

        Raises:
            ProcessError: it has ended; the message has its exit code and the end of its log.

        """
        if not self.running:
            raise ProcessError(f"{self.name} ended with exit code {self.returncode}.\n{self.tail()}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, not to its children."""
        if self._process:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process itself with SIGKILL, like a crash."""
        self.signal(signal.SIGKILL)
        self.wait(10)

    def wait(self, timeout_s: float) -> int:
        """Wait for the end and return the exit code.

        Raises:
            ProcessError: it still runs after `timeout_s`.

        """
        if not self._process:
            raise ProcessError(f"{self.name} was never started")
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ProcessError(f"{self.name} still runs after {timeout_s} s.\n{self.tail()}") from error

    def terminate(self) -> None:
        """Send SIGTERM, without waiting."""
        if self.running:
            self.signal(signal.SIGTERM)

    def end(self, timeout_s: float = 20) -> int:
        """Send SIGTERM, wait, and return the exit code.

        Raises:
            ProcessError: it still runs after `timeout_s`.

        """
        self.terminate()
        return self.wait(timeout_s)

    def stop(self, timeout_s: float = 10) -> None:
        """Send SIGTERM, wait, then kill the rest of its process groups, including those of earlier runs."""
        self.terminate()
        if self._process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        if self._process:
            self._process.wait(timeout_s)
        self._groups.clear()

    def tail(self) -> str:
        """Return the end of the log, for an error message."""
        if not self.log.exists():
            return "(no log)"
        text = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"--- end of {self.log} ---", *text])


def wait_until(
    condition: Callable[[], bool], what: str, timeout_s: float, alive: Sequence[ManagedProcess] = ()
) -> None:
    """Poll until a condition holds or one of the processes that it depends on has ended.

    Raises:
        ProcessError: one of them ended.
        TimeoutError: the condition did not hold in time.

    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        for process in alive:
            process.check()
        if time.monotonic() > deadline:
            tails = "\n".join(process.tail() for process in alive)
            raise TimeoutError(f"{what}: not after {timeout_s:g} s.\n{tails}")
        time.sleep(POLL_S)


def answers(url: str) -> bool:
    """Return whether a GET is answered with 200."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def run_command(command: Sequence[str], env: Mapping[str, str], cwd: Path, timeout_s: float) -> str:
    """Run a command to its end and return what it printed on stdout.

    Raises:
        ProcessError: it failed or took too long; the message has the end of its stderr.

    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with _interrupts_wait():
            process = _spawn(command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ProcessError(f"{' '.join(command)}: not ended after {timeout_s:g} s") from error
    finally:
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        text = errors.decode(errors="replace")[-4000:]
        raise ProcessError(f"{' '.join(command)}: exit code {process.returncode}\n{text}")
    return output.decode()


def _spawn(command: Sequence[str], **arguments: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_prepare_child,  # noqa: PLW1509  (two system calls, no locks)
        **arguments,
    )


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare_child() -> None:
    # SIGTERM and not SIGKILL: Airflow's components then end their own children too.
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
