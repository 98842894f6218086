"""What models of several nouns share."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints

from edge_protocol.limits import COMMENT_MAX

Comment = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=COMMENT_MAX)]
Lifetime = Annotated[int, Field(ge=1, le=10 * 366 * 86400)]
"""Seconds, up to ten years."""


def example(value: dict[str, Any], extra: Literal["ignore", "forbid"] = "ignore") -> ConfigDict:
    """Return the settings of a model: an example for its description, and whether unknown fields are an error."""
    return ConfigDict(json_schema_extra={"examples": [value]}, extra=extra)
