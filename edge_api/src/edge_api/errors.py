"""The errors that the edge API raises.

EdgeApiError
+-- RefusedError             a caller asked for something that it can't have; becomes a problem answer
|   +-- OutOfScopeError      it lies outside the part of the fleet that the credential covers
+-- DatabaseAwayError        the database can't be used now; worth another try
|   +-- DatabaseBrokenError  it answered with an internal error; worth only a few tries
+-- DatabaseRefusedError     the database answered that a statement is wrong; not worth another try
    +-- BadDataError         it can't hold a value that a caller sent
"""


class EdgeApiError(Exception):
    """Base of this package's errors."""


class RefusedError(EdgeApiError):
    """A caller's request is refused.

    `status` is the HTTP status, `code` a stable word for programs, `detail` one sentence that says what is wrong and
    how to fix it.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class OutOfScopeError(RefusedError):
    """A request reaches beyond the scope of the caller's credential; it is noted in the audit trail."""


class DatabaseAwayError(EdgeApiError):
    """The database can't be reached, or broke off; the same statement may succeed later."""


class DatabaseBrokenError(DatabaseAwayError):
    """The database answers a statement with an internal error, which may be over at the next try, or never."""


class DatabaseRefusedError(EdgeApiError):
    """The database refuses a statement or its data; trying again would not help."""


class BadDataError(DatabaseRefusedError):
    """The database can't hold a value: text with a NUL, a number out of range."""
