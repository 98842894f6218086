"""Tasks that treat their process badly."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

from airflow.sdk import dag, task


class UnprintableError(Exception):
    """An error without a text."""

    def __str__(self):
        raise RuntimeError("no text")


@task
def read_null():
    ctypes.string_at(0)


@task
def abort():
    os.abort()


@task
def divide_by_zero():
    signal.raise_signal(signal.SIGFPE)


@task
def leave():
    os._exit(3)


@task
def close_descriptors():
    for descriptor in range(3):
        os.close(descriptor)


@task
def leave_processes():
    print(f"left {subprocess.Popen(['sleep', '600'], start_new_session=True).pid}", flush=True)
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


@task
def terminate_child():
    """End a process that the task has forked, as a pool does with its workers."""
    ready, says_ready = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(says_ready, b"x")
        time.sleep(600)
        os._exit(0)
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    print(f"the child was ended by {os.WTERMSIG(os.waitpid(child, 0)[1])}")


@task
def pools():
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(method, sum(pool.map(abs, range(-4, 0))))


@task
def long_line():
    print("x" * 3_000_000)


@task
def binary():
    sys.stdout.buffer.write(bytes(range(256)) * 16 + b"\nafter the bytes\n")
    sys.stdout.flush()


@task
def many_lines():
    for number in range(20_000):
        print("line", number)


@task
def large_xcom():
    return "y" * 5_000_000


@task
def unprintable():
    raise UnprintableError


@task
def ignore_sigterm():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ignoring", flush=True)
    while True:
        time.sleep(60)


@task(execution_timeout=timedelta(seconds=1))
def sleep_in_c():
    ctypes.CDLL(None).sleep(60)


@dag(schedule=None)
def d():
    for each in (
        read_null,
        abort,
        divide_by_zero,
        leave,
        close_descriptors,
        leave_processes,
        terminate_child,
        pools,
        long_line,
        binary,
        many_lines,
        large_xcom,
        unprintable,
        ignore_sigterm,
        sleep_in_c,
    ):
        each()


d()
