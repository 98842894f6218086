"""Tokens and credentials: who a caller is, enrolment, rotation, and refused calls."""
