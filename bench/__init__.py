"""The benchmark: this project, edge3 and LocalExecutor side by side on one machine."""
