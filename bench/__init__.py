"""The benchmark: this project beside edge3 and LocalExecutor on one machine, in one run."""
