"""Agent processes whose tasks are shell commands."""
