"""The database as the rest sees it: statements, group commit, and hints from other processes."""
