"""Statements on workers: reports of agents, requests of people, views of the fleet, and the change stream."""
