"""Places in a list as opaque texts, so that clients pass them back and build nothing on them."""

import base64
import binascii
import re
from datetime import datetime
from uuid import UUID

from edge_api.errors import RefusedError

CURSOR_MAX = 2048

_PLACE = re.compile(r"(\S{1,64}) ([a-z]{1,16}) ([0-9]{1,18})")


def encode(place: str) -> str:
    """Return the cursor of a place."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    """Return the place of a cursor.

    Raises:
        RefusedError: this is no cursor (422).

    """
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _refused() from error


def decode_id(cursor: str | None) -> UUID | None:
    """Return the place of a cursor that is an id; errors as of `decode`."""
    if cursor is None:
        return None
    try:
        return UUID(decode(cursor))
    except ValueError as error:
        raise _refused() from error


def decode_number(cursor: str | None) -> int | None:
    """Return the place of a cursor that is a number; errors as of `decode`."""
    if cursor is None:
        return None
    text = decode(cursor)
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise _refused()
    return int(text)


def encode_moment(at: datetime, key: UUID) -> str:
    """Return the cursor of a row that is ordered by time and id."""
    return encode(f"{at.isoformat()} {key}")


def decode_moment(cursor: str | None) -> tuple[datetime, UUID] | None:
    """Return the place of a cursor of `encode_moment`; errors as of `decode`."""
    if cursor is None:
        return None
    at, _, key = decode(cursor).partition(" ")
    try:
        moment = datetime.fromisoformat(at)
        place = moment, UUID(key)
    except ValueError as error:
        raise _refused() from error
    if moment.tzinfo is None:
        raise _refused()
    return place


def encode_place(at: datetime, source: str, key: int) -> str:
    """Return the cursor of a row of a list from several sources."""
    return encode(f"{at.isoformat()} {source} {key}")


def decode_place(cursor: str | None) -> tuple[datetime, str, int] | None:
    """Return the place of a cursor of `encode_place`; errors as of `decode`."""
    if cursor is None:
        return None
    match = _PLACE.fullmatch(decode(cursor))
    if match is None:
        raise _refused()
    try:
        moment = datetime.fromisoformat(match[1])
    except ValueError as error:
        raise _refused() from error
    if moment.tzinfo is None:
        raise _refused()
    return moment, match[2], int(match[3])


def _refused() -> RefusedError:
    return RefusedError(422, "bad_cursor", "The cursor is not one of this list. Begin without a cursor.")
