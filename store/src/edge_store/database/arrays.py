"""Arrays as parameters of statements."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

TEXTS: Final = ARRAY(Text)


def texts(values: Iterable[str | UUID | float | None]) -> list[str | None]:
    """Return values as an array of text, which every driver sends in the same way; the statement casts it."""
    return [None if value is None else str(value) for value in values]
