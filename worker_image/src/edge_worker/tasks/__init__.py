"""Leases and their tasks: accepted, started in a runner process, ended, reported, released."""
