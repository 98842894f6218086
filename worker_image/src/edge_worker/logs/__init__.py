"""Shipping task logs: what to send next, what is safe to free, what has to be dropped."""
