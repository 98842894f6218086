"""Values that PostgreSQL can hold: its text has no NUL, its JSON no NaN or infinity."""

import math
from collections.abc import Mapping


def storable_text(text: str) -> str:
    """Return the text with each NUL replaced by U+FFFD."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


def storable_values(values: Mapping[str, float | int | str | None]) -> dict[str, float | int | str | None]:
    """Return the values without NUL in texts; numbers that are not finite are left out."""
    return {
        storable_text(key): storable_text(value) if isinstance(value, str) else value
        for key, value in values.items()
        if not (isinstance(value, float) and not math.isfinite(value))
    }
