"""Errors that stop the worker, with the exit code of the command.

    WorkerError
      +- ConfigError             2  a setting, the API URL or the join token is wrong: fix it and start again
      +- StateFolderError        2  the state folder is in use or not usable
      +- WorkerRefusedError      2  the edge API does not accept this worker: its protocol, or its name
      +- CredentialRefusedError  3  the worker's credential is expired or revoked: enrol again
      +- NotReachedError         1  the edge API, or the worker of a command on this host, was not reached in time
      +- NotRunningError         3  a command on this host found no worker
      +- RunnerBrokenError       1  tasks cannot be started on this host

The message is one line for a person: the problem and how to fix it.
"""

from typing import ClassVar


class WorkerError(Exception):
    """The worker cannot go on."""

    exit_code: ClassVar[int] = 1


class ConfigError(WorkerError):
    """A setting is wrong."""

    exit_code = 2


class StateFolderError(WorkerError):
    """The state folder cannot be used."""

    exit_code = 2


class WorkerRefusedError(WorkerError):
    """The edge API does not accept this worker as it is."""

    exit_code = 2


class CredentialRefusedError(WorkerError):
    """The edge API does not accept the worker's credential."""

    exit_code = 3


class NotReachedError(WorkerError):
    """The edge API or the local worker was not reached in time, or the awaited state was not."""

    exit_code = 1


class NotRunningError(WorkerError):
    """No worker runs on this host with the state folder in question."""

    exit_code = 3


class RunnerBrokenError(WorkerError):
    """Tasks cannot be started on this host."""
