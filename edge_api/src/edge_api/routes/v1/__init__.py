"""HTTP calls of the v1 wire, as an application of its own with its own OpenAPI description."""
