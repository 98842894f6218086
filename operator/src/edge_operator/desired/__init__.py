"""Decisions as pure functions: what the objects should be, and what the next step is. No I/O and no clock."""
