"""Brings one object at a time to what `desired` says. Level-based: each pass looks at everything, whatever woke it."""
