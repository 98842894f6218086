"""A real cluster for the suite of `tests/e2e`: one node on this machine, kind, or one that exists."""
