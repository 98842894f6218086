"""What calls of the edge API can end with.

FleetError
  UnreachableError   no answer, or one that says that the service is in trouble
  RefusedError       the answer is no; `status` and `code` say why
    MissingError     there is no such worker
"""


class FleetError(Exception):
    """A call of the edge API did not succeed."""


class UnreachableError(FleetError):
    """The edge API does not answer."""


class RefusedError(FleetError):
    """The edge API refuses the call."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class MissingError(RefusedError):
    """The edge API does not know the worker, token or credential."""
