"""Statements on workers: what agents report, what people request, and what both see."""
