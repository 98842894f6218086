"""What can stop the worker, with the exit code of the command.

    WorkerError
      +- ConfigError           2  a setting, the API URL or the join token is wrong: mend it and start again
      +- StateFolderError      2  the state folder is in use or not usable
      +- ProtocolMismatchError      2  worker and edge API do not speak a common protocol
      +- CredentialRefusedError     3  the worker's credential is not good any more: enrol again

The message is one line for a person: what is wrong and what mends it.
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


class ProtocolMismatchError(WorkerError):
    """The edge API refuses this version of the worker."""

    exit_code = 2


class CredentialRefusedError(WorkerError):
    """The edge API does not accept the worker's credential."""

    exit_code = 3
