"""Statements on credentials and join tokens, their scopes, and the audit trail."""
