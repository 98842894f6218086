"""The pool replaces runner processes; templates import real modules."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from edge_testing.waiting import until
from edge_testing.workers.scripts import SHELL_RUNNER
from edge_worker.errors import RunnerBrokenError
from edge_worker.host import processes
from edge_worker.tasks import runners
from edge_worker.tasks.learned import MANY_MODULES, LearnedModules
from edge_worker.tasks.outcome import TaskExit
from edge_worker.tasks.runners import RunnerPool, RunnerProcess, RunnerStartError, StartOrder, runner_command


class Pool:
    """A supervised pool and the ends of tasks that it reported."""

    def __init__(self, pool: RunnerPool, folder: Path) -> None:
        self.pool = pool
        self.folder = folder
        self.exits: dict[UUID, TaskExit] = {}

    def on_exit(self, task_exit: TaskExit) -> None:
        self.exits[task_exit.lease_id] = task_exit

    async def run(self, script: str) -> UUID:
        lease = uuid4()
        (self.folder / str(lease) / "logs").mkdir(parents=True)
        log_file = self.folder / str(lease) / "logs" / "log"
        await self.pool.start(StartOrder(lease, self.folder / str(lease), script, log_file, None))
        return lease

    async def runner(self) -> int:
        """Return the pid of the runner that a new task gets."""
        lease = await self.run("ps -o ppid= -p $PPID")
        await until(lambda: lease in self.exits, "end of a task")
        return int(self.log(lease))

    def log(self, lease: UUID) -> str:
        path = self.folder / str(lease) / "logs" / "log"
        return path.read_text() if path.exists() else ""


@pytest.fixture(autouse=True)
def others_are_no_strays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is within this process here, which may have children of other tests: those are not the pool's to end."""
    others = set(processes.own_children())
    real = processes.own_children
    monkeypatch.setattr(processes, "own_children", lambda: [child for child in real() if child not in others])


@pytest.fixture
def lock_fd(tmp_path: Path) -> Any:
    descriptor = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def learned(tmp_path: Path) -> LearnedModules:
    return LearnedModules(tmp_path / "learned.json", common=[])


@pytest.fixture
async def shell_pool(lock_fd: int, learned: LearnedModules, tmp_path: Path) -> AsyncIterator[Pool]:
    pool = RunnerPool(SHELL_RUNNER, lock_fd=lock_fd, environ=os.environ, learned=learned)
    wrapped = Pool(pool, tmp_path)
    pool.listen(wrapped.on_exit)
    supervision = asyncio.create_task(pool.supervise())
    await asyncio.wait_for(pool.prepare(), 30)
    yield wrapped
    supervision.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await supervision
    await pool.close()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def outcome(pool: Pool, lease: UUID) -> str:
    path = pool.folder / str(lease) / "outcome.json"
    return path.read_text() if path.exists() else ""


def many(prefix: str) -> set[str]:
    return {f"{prefix}{number}" for number in range(MANY_MODULES)}


async def test_new_tasks_go_to_the_new_template_and_the_old_one_exits_after_its_last_task(shell_pool: Pool) -> None:
    parent = "ps -o ppid= -p $PPID"
    first = await shell_pool.run(f"{parent}; while [ ! -e {shell_pool.folder}/go ]; do sleep 0.05; done")
    old = int(await until(lambda: shell_pool.log(first).strip(), "first task"))
    shell_pool.pool.learn(many("a"))
    async with asyncio.timeout(30):
        while (new := await shell_pool.runner()) == old:
            pass
    assert alive(old), "its task still runs"
    (shell_pool.folder / "go").touch()
    await until(lambda: first in shell_pool.exits, "end of the first task")
    assert shell_pool.exits[first].status == 0
    await until(lambda: not alive(old), "end of the old runner")
    assert alive(new)


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site-packages"
    (folder / "thing-1.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(runners, "PACKAGES_LOOK_S", 0.1)
    return folder


async def test_upgraded_package_leads_to_a_new_template(site_packages: Path, shell_pool: Pool) -> None:
    old = await shell_pool.runner()
    (site_packages / "thing-1.dist-info").rename(site_packages / "thing-2.dist-info")
    await until(lambda: not alive(old), "end of the old runner")
    assert await shell_pool.runner() != old


async def test_dead_runner_is_replaced(shell_pool: Pool) -> None:
    lease = await shell_pool.run("ps -o ppid= -p $PPID; sleep 1000")
    runner = int(await until(lambda: shell_pool.log(lease).strip(), "task"))
    os.kill(runner, signal.SIGKILL)
    await until(lambda: lease in shell_pool.exits, "end of the task")
    assert shell_pool.exits[lease].detail == "the runner process died"
    again = await shell_pool.run("true")
    await until(lambda: again in shell_pool.exits, "end of the second task")
    assert shell_pool.exits[again].status == 0


async def test_task_killed_on_its_way_to_a_runner_ends(shell_pool: Pool) -> None:
    first = await shell_pool.run("ps -o ppid= -p $PPID")
    runner = int(await until(lambda: shell_pool.log(first).strip(), "first task"))
    os.kill(runner, signal.SIGKILL)
    await until(lambda: not alive(runner), "end of the runner")
    starting = asyncio.create_task(shell_pool.run("sleep 1000"))
    await until(lambda: starting.done() or shell_pool.pool._starting, "a task that waits for a runner")
    lease = next(iter(shell_pool.pool._starting), None) or await starting
    shell_pool.pool.kill(lease, 0)
    await starting
    await until(lambda: lease in shell_pool.exits, "end of the task")
    assert "succeeded" not in outcome(shell_pool, lease)


async def test_runner_that_never_starts_is_an_error(lock_fd: int, learned: LearnedModules) -> None:
    environ = {**os.environ, "SHELL_RUNNER_BROKEN": "1"}
    pool = RunnerPool(SHELL_RUNNER, lock_fd=lock_fd, environ=environ, learned=learned)
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(pool.supervise(), 60)
    assert caught.group_contains(RunnerBrokenError, match="broken by the test")
    await pool.close()


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "good.py").write_text("x = 1\n")
    (folder / "fails.py").write_text("raise RuntimeError('not here')\n")
    (folder / "exits.py").write_text("import sys; sys.exit(3)\n")
    (folder / "crashes.py").write_text("import os; os._exit(9)\n")
    (folder / "threads.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    return folder


async def start_template(lock_fd: int, modules: Path, names: list[str]) -> tuple[RunnerProcess, Any]:
    environ = {**os.environ, "PYTHONPATH": str(modules), "AIRFLOW_HOME": str(modules)}
    process = await RunnerProcess.spawn(runner_command("template"), lock_fd, environ)
    try:
        async with asyncio.timeout(60):
            return process, await process.become_ready(names)
    except RunnerStartError as error:
        return process, error


async def test_template_preloads_and_skips_modules_that_fail(lock_fd: int, modules: Path) -> None:
    process, ready = await start_template(lock_fd, modules, ["good", "fails", "exits", "not_there"])
    await process.close(10)
    assert set(ready.skipped) == {"fails", "exits", "not_there"}
    assert ready.skipped["fails"] == "RuntimeError: not here"
    assert ready.modules > 1000
    assert ready.resident_bytes > 50 << 20


@pytest.mark.parametrize("offender", ["threads", "crashes"])
async def test_unfit_template_names_the_module_that_caused_it(lock_fd: int, modules: Path, offender: str) -> None:
    process, error = await start_template(lock_fd, modules, ["good", offender])
    await process.close(10)
    assert isinstance(error, RunnerStartError)
    assert error.module == offender


async def test_module_that_makes_a_template_unfit_is_denied_and_the_next_one_does_without(
    lock_fd: int, modules: Path, learned: LearnedModules
) -> None:
    learned.add({"good", "threads"})
    environ = {**os.environ, "PYTHONPATH": str(modules), "AIRFLOW_HOME": str(modules)}
    pool = RunnerPool(runner_command("template"), lock_fd=lock_fd, environ=environ, learned=learned)
    supervision = asyncio.create_task(pool.supervise())
    await asyncio.wait_for(pool.prepare(), 60)
    supervision.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await supervision
    await pool.close()
    assert learned.preload_list() == ["good"]
    assert "thread" in learned.denied["threads"]


async def test_common_modules_all_exist_and_fit(lock_fd: int, modules: Path, tmp_path: Path) -> None:
    process, ready = await start_template(lock_fd, modules, LearnedModules(tmp_path / "none").preload_list())
    await process.close(10)
    assert not isinstance(ready, RunnerStartError), ready
    assert ready.skipped == {}
