"""Shipping task logs: which piece to send next, which disk space to free, what to drop when the spool is full."""
