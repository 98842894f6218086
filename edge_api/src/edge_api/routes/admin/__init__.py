"""HTTP calls of the admin API, as an application of its own with its own OpenAPI description."""
