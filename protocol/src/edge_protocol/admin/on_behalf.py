"""Who is behind a call: a program that many people use names them, so that the audit trail does.

The rights are those of the program's credential, which must be made for this (`CredentialRequest.on_behalf`).
"""

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

ON_BEHALF_HEADER: Final = "X-Edge-On-Behalf-Of"
"""Carries the name as percent-encoded UTF-8, since any name must fit into a header."""

NAME_MAX: Final = 256
"""Characters of a name."""

# No raw comma: proxies join two headers with one.
_ENCODED = re.compile(r"(?:[!-$&-+\--~ ]|%[0-9A-Fa-f]{2}){1,3072}")


class InvalidNameError(ValueError):
    """The name of a person is empty, too long, or can't be shown."""


def encode_name(name: str) -> str:
    """Return a name as the header carries it.

    Raises:
        InvalidNameError: the server would refuse it.

    """
    try:
        return quote(_checked(name), safe=" @")
    except UnicodeEncodeError as error:
        raise InvalidNameError("The name has characters that are no text.") from error


def decode_name(value: str) -> str:
    """Return the name that a header carries.

    Raises:
        InvalidNameError: it carries none.

    """
    if _ENCODED.fullmatch(value) is None:
        raise InvalidNameError("The name is not percent-encoded UTF-8.")
    try:
        return _checked(unquote_to_bytes(value).decode())
    except UnicodeDecodeError as error:
        raise InvalidNameError("The name is not percent-encoded UTF-8.") from error


def _checked(name: str) -> str:
    if not name.strip() or len(name) > NAME_MAX or not name.isprintable():
        raise InvalidNameError(f"The name must have 1 to {NAME_MAX} printable characters.")
    return name
