"""A Kubernetes control plane without nodes, and ways to call and watch it."""
