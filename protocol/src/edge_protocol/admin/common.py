"""Types that several models share."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints

from edge_protocol.limits import COMMENT_MAX

Comment = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=COMMENT_MAX)]
Lifetime = Annotated[int, Field(ge=1, le=10 * 366 * 86400)]
"""Seconds, up to ten years."""


def example(value: dict[str, Any], extra: Literal["ignore", "forbid"] = "ignore") -> ConfigDict:
    """Return a model's settings: an example for the OpenAPI description, and whether unknown fields are an error."""
    return ConfigDict(json_schema_extra={"examples": [value]}, extra=extra)
