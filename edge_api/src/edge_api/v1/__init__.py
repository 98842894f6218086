"""The v1 wire: the calls of edge3 workers."""
