"""What calls of the apiserver can end with.

KubeError
  NotFoundError      the object is not there
  ConflictError      it exists already, or has changed meanwhile: look again
  ForbiddenError     a right is missing, or the namespace is going away
  InvalidError       the apiserver does not take the object; its message says why
  UnavailableError   it did not answer, or is too busy
"""


class KubeError(Exception):
    """The apiserver refused a call."""


class NotFoundError(KubeError):
    """The object does not exist."""


class ConflictError(KubeError):
    """The object exists already or has changed meanwhile."""


class ForbiddenError(KubeError):
    """The operator's service account lacks a right, or the namespace is being deleted."""


class InvalidError(KubeError):
    """The apiserver does not take the object."""


class UnavailableError(KubeError):
    """The apiserver did not answer."""


BY_STATUS: dict[int, type[KubeError]] = {
    400: InvalidError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: UnavailableError,
    422: InvalidError,
    429: UnavailableError,
}
