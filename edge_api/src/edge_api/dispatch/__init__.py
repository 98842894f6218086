"""Queued jobs go to waiting workers."""
