"""What systems do in different ways, a module for each concern: locks, files, signals.

Process trees are in `edge_worker.host.processes`, the local control channel in `edge_worker.host.control.address`.
"""
