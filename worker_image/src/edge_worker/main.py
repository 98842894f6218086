"""Puts an agent together from settings and runs it."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from edge_protocol.frames import Versions
from edge_worker import __version__
from edge_worker.agent import Agent
from edge_worker.connection.credential import CredentialRotation
from edge_worker.connection.http import client_session
from edge_worker.host import processes
from edge_worker.host.state import StateFolder, StateLocks, StoredCredential
from edge_worker.maintenance.health import load_health_check
from edge_worker.settings import WorkerSettings
from edge_worker.tasks.launcher import Launcher, RunnerBrokenError
from edge_worker.tasks.learned import LearnedModules
from edge_worker.tasks.runner_process import runner_command, runner_environ
from edge_worker.tasks.runners import RunnerPool


async def run_agent(settings: WorkerSettings, state: StateFolder, credential: StoredCredential) -> None:
    """Run a worker until it is stopped.

    Raises:
        WorkerError: it cannot go on.

    """
    health = load_health_check(settings.health_check, settings.health_timeout_s) if settings.health_check else None
    locks = StateLocks.acquire(state)
    try:
        processes.adopt_orphans()
        async with client_session(settings.ca_bundle, credential.credential) as client:
            api_url = settings.api_url or credential.api_url
            agent = Agent(
                settings,
                api_url=api_url,
                client=client,
                launcher=make_launcher(settings, state, locks),
                versions=installed_versions(),
                rotation=CredentialRotation(client, state, credential, api_url),
                health=health,
            )
            await agent.run()
    finally:
        locks.close()


def make_launcher(settings: WorkerSettings, state: StateFolder, locks: StateLocks) -> Launcher:
    """Return what starts tasks: forks of a warm process, or fresh interpreters.

    Raises:
        RunnerBrokenError: this system can't run tasks.

    """
    if sys.platform == "win32":
        raise RunnerBrokenError(
            "Airflow's task supervisor forks, which Windows can't; run the worker in WSL 2, see docs/windows.md"
        )
    forking = settings.fork
    return RunnerPool(
        runner_command("template" if forking else "fresh"),
        lock_fd=locks.tasks.fileno(),
        environ=runner_environ(os.environ, str(settings.ca_bundle) if settings.ca_bundle else None),
        learned=LearnedModules(state.learned) if forking else None,
    )


def installed_versions() -> Versions:
    """Return what runs on this host."""
    try:
        airflow = version("apache-airflow-core")
    except PackageNotFoundError:
        airflow = None
    return Versions(
        worker=__version__,
        airflow=airflow,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
    )
